//! One `ExportTraceServiceRequest` into the tables.
//!
//! A message is gone through twice where what comes late on the wire is needed first: the fields of a span decide
//! whether it is taken at all. What holds messages is only passed over then, so that the work stays linear.

use crate::any_value::low_bits;
use crate::appender::{Appender, Taken};
use crate::check;
use crate::kinds::Kind;
use crate::problems::Problem;
use crate::records::{Link, Scope, Span, set};
use crate::tables::Tables;
use crate::wire::{Depth, Malformed, Pieces, Value, fields};

/// Reads one request.
pub struct RequestReader<'t> {
    rows: Appender<'t>,
    most_spans: usize,
}

type Done = Result<(), Problem>;

impl<'t> RequestReader<'t> {
    /// Appends to `tables`, as request `number`, at most so many spans.
    pub fn new(tables: &'t mut Tables, number: i32, most_spans: usize) -> Self {
        Self { rows: Appender::new(tables, number), most_spans }
    }

    /// Appends a whole request; after a problem the tables hold some of it.
    pub fn read(mut self, body: &[u8]) -> Result<Taken, Problem> {
        let mut resource = 0;
        fields(body, Depth::OUTERMOST, |field| {
            if let (1, Value::Bytes(resource_spans)) = field {
                self.resource_spans(resource_spans, resource)?;
                resource += 1;
            }
            Ok::<_, Problem>(())
        })?;
        Ok(self.rows.taken)
    }

    fn resource_spans(&mut self, message: &[u8], place: usize) -> Done {
        let depth = Depth::OUTERMOST.deeper()?;
        let (mut resource, mut schema_url) = (Pieces::default(), &[][..]);
        fields(message, depth, |field| {
            match field {
                (1, Value::Bytes(piece)) => resource.push(piece),
                (3, Value::Bytes(text)) => schema_url = text,
                _ => {}
            }
            Ok::<_, Malformed>(())
        })?;
        self.resource(&resource, schema_url, depth)?;
        let (before, mut scope) = (self.rows.taken.spans, 0);
        fields(message, depth, |field| {
            if let (2, Value::Bytes(scope_spans)) = field {
                self.scope_spans(scope_spans, depth, [place, scope])?;
                scope += 1;
            }
            Ok::<_, Problem>(())
        })?;
        self.rows.repeat_resource(before);
        Ok(())
    }

    fn resource(&mut self, resource: &Pieces, schema_url: &[u8], outer: Depth) -> Done {
        let (attributes, mut dropped) = (&mut self.rows.tables.resource_attributes, 0);
        attributes.open();
        resource.fields(outer, |depth, field| match field {
            (1, Value::Bytes(pair)) => attributes.push(pair, depth),
            (2, Value::Number(bits)) => set(&mut dropped, low_bits(bits)),
            (3, Value::Bytes(entity)) => check::inner(Kind::EntityRef, entity, depth),
            _ => Ok(()),
        })?;
        self.rows.resource(schema_url, dropped);
        Ok(())
    }

    fn scope_spans(&mut self, message: &[u8], outer: Depth, place: [usize; 2]) -> Done {
        let depth = outer.deeper()?;
        let (mut scope, mut schema_url, mut spans) = (Pieces::default(), &[][..], 0);
        fields(message, depth, |field| {
            match field {
                (1, Value::Bytes(piece)) => scope.push(piece),
                (2, Value::Bytes(_)) => spans += 1,
                (3, Value::Bytes(text)) => schema_url = text,
                _ => {}
            }
            Ok::<_, Malformed>(())
        })?;
        self.scope(&scope, schema_url, depth)?;
        if self.rows.taken.spans + spans > self.most_spans {
            return Err(Problem::TooManySpans);
        }
        self.spans(message, depth, place)
    }

    fn spans(&mut self, scope_spans: &[u8], depth: Depth, [resource, scope]: [usize; 2]) -> Done {
        let (before, mut span) = (self.rows.taken.spans, 0);
        fields(scope_spans, depth, |field| {
            if let (2, Value::Bytes(message)) = field {
                self.span(message, depth, [resource, scope, span])?;
                span += 1;
            }
            Ok::<_, Malformed>(())
        })?;
        self.rows.repeat_scope(before);
        Ok(())
    }

    fn scope(&mut self, pieces: &Pieces, schema_url: &[u8], outer: Depth) -> Result<(), Malformed> {
        let mut scope = Scope { schema_url, ..Scope::default() };
        let attributes = &mut self.rows.tables.scope_attributes;
        attributes.open();
        pieces.fields(outer, |depth, field| match field {
            (1, Value::Bytes(text)) => set(&mut scope.name, text),
            (2, Value::Bytes(text)) => set(&mut scope.version, text),
            (3, Value::Bytes(pair)) => attributes.push(pair, depth),
            (4, Value::Number(bits)) => set(&mut scope.dropped_attributes_count, low_bits(bits)),
            _ => Ok(()),
        })?;
        self.rows.scope(&scope);
        Ok(())
    }

    fn span(&mut self, message: &[u8], outer: Depth, place: [usize; 3]) -> Result<(), Malformed> {
        let depth = outer.deeper()?;
        let span = Span::read(message, depth)?;
        let Some(row) = self.rows.span(&span, place) else { return check::inner(Kind::Span, message, outer) };
        self.rows.tables.span_attributes.open();
        fields(message, depth, |field| match field {
            (9, Value::Bytes(pair)) => self.rows.tables.span_attributes.push(pair, depth),
            (11, Value::Bytes(event)) => self.event(event, depth, row),
            (13, Value::Bytes(link)) => self.link(link, depth, row),
            _ => Ok(()),
        })
    }

    fn event(&mut self, message: &[u8], outer: Depth, span: i32) -> Result<(), Malformed> {
        let depth = outer.deeper()?;
        let attributes = &mut self.rows.tables.event_attributes;
        let (mut time, mut name, mut dropped) = (0, &[][..], 0);
        attributes.open();
        fields(message, depth, |field| match field {
            (1, Value::Fixed64(bits)) => set(&mut time, bits),
            (2, Value::Bytes(text)) => set(&mut name, text),
            (3, Value::Bytes(pair)) => attributes.push(pair, depth),
            (4, Value::Number(bits)) => set(&mut dropped, low_bits(bits)),
            _ => Ok(()),
        })?;
        self.rows.event(span, time, name, dropped);
        Ok(())
    }

    fn link(&mut self, message: &[u8], outer: Depth, span: i32) -> Result<(), Malformed> {
        let link = Link::read(message, outer.deeper()?, &mut self.rows.tables.link_attributes)?;
        self.rows.link(span, &link);
        Ok(())
    }
}
