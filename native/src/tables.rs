//! The ten tables of a `SpanTable`, growing together; columns in the order of `otlp_receiver/decode/span_table.py`.

use crate::attributes::{Attributes, Mark as AttributesMark};
use crate::columns::{Buffer, Column, Text};

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $type:ty),+ $(,)? } rows of $counted:ident) => {
        $(#[$doc])*
        #[allow(missing_docs)] // the columns are named as in OTLP
        #[derive(Default)]
        pub struct $name { $(pub $column: $type),+ }

        impl $name {
            /// Number of rows.
            pub fn rows(&self) -> usize {
                self.$counted.len()
            }

            fn columns(&mut self) -> Vec<&mut dyn Column> {
                vec![$(&mut self.$column),+]
            }
        }
    };
}

table! {
    /// One row a usable span.
    Spans {
        request: Vec<i32>,
        resource: Vec<i32>,
        scope: Vec<i32>,
        trace_id: Text,
        span_id: Text,
        parent_span_id: Text,
        trace_state: Text,
        flags: Vec<u32>,
        name: Text,
        kind: Vec<i32>,
        start_time_unix_nano: Vec<u64>,
        end_time_unix_nano: Vec<u64>,
        dropped_attributes_count: Vec<u32>,
        dropped_events_count: Vec<u32>,
        dropped_links_count: Vec<u32>,
        status_code: Vec<i32>,
        status_message: Text,
    } rows of request
}

table! {
    /// Events of the spans.
    Events { span: Vec<i32>, time_unix_nano: Vec<u64>, name: Text, dropped_attributes_count: Vec<u32> } rows of span
}

table! {
    /// Links of the spans.
    Links {
        span: Vec<i32>,
        trace_id: Text,
        span_id: Text,
        trace_state: Text,
        flags: Vec<u32>,
        dropped_attributes_count: Vec<u32>,
    } rows of span
}

table! {
    /// Resources, in the order sent; equal ones are not brought together.
    Resources { schema_url: Text, dropped_attributes_count: Vec<u32> } rows of dropped_attributes_count
}

table! {
    /// Instrumentation scopes.
    Scopes {
        name: Text,
        version: Text,
        schema_url: Text,
        dropped_attributes_count: Vec<u32>,
    } rows of dropped_attributes_count
}

/// All of them.
#[allow(missing_docs)] // named as in Python
#[derive(Default)]
pub struct Tables {
    pub spans: Spans,
    pub span_attributes: Attributes,
    pub events: Events,
    pub event_attributes: Attributes,
    pub links: Links,
    pub link_attributes: Attributes,
    pub resources: Resources,
    pub resource_attributes: Attributes,
    pub scopes: Scopes,
    pub scope_attributes: Attributes,
}

/// Rows of the plain tables: spans, events, links, resources, scopes.
pub type Rows = [usize; 5];

/// Where the tables ended.
pub struct Mark {
    rows: Rows,
    attributes: [AttributesMark; 5],
}

/// Number of rows of one table, and its buffers.
pub type Given = (usize, Vec<Buffer>);

impl Tables {
    /// Rows of the plain tables so far.
    pub fn rows(&self) -> Rows {
        [self.spans.rows(), self.events.rows(), self.links.rows(), self.resources.rows(), self.scopes.rows()]
    }

    /// Length of all that grows, as the Python decoder measures it.
    pub fn entries(&mut self) -> usize {
        self.rows().iter().sum::<usize>() + self.attributes().iter().map(|table| table.entries()).sum::<usize>()
    }

    /// Where the tables end now.
    pub fn mark(&mut self) -> Mark {
        Mark { rows: self.rows(), attributes: self.attributes().map(|table| table.mark()) }
    }

    /// Forgets what came after a mark.
    pub fn roll_back(&mut self, mark: &Mark) {
        for (columns, rows) in self.columns().into_iter().zip(mark.rows) {
            for column in columns {
                column.truncate(rows);
            }
        }
        for (table, mark) in self.attributes().into_iter().zip(mark.attributes) {
            table.roll_back(mark);
        }
    }

    /// Whether a column of text is longer than its offsets can say.
    pub fn is_too_long(&mut self) -> bool {
        self.columns().iter().flatten().any(|column| column.is_too_long())
            || self.attributes().iter().any(|table| table.is_too_long())
    }

    /// The tables in the order of `SpanTable`; they are empty after it.
    pub fn give(&mut self) -> Vec<Given> {
        let rows = self.rows();
        let attribute_rows = self.attributes().map(|table| table.rows());
        let plain = self.columns().map(|columns| {
            let mut buffers = vec![];
            for column in columns {
                column.give(&mut buffers);
            }
            buffers
        });
        let attributes = self.attributes().map(Attributes::give);
        let plain = rows.into_iter().zip(plain);
        plain.zip(attribute_rows.into_iter().zip(attributes)).flat_map(|(things, theirs)| [things, theirs]).collect()
    }

    fn columns(&mut self) -> [Vec<&mut dyn Column>; 5] {
        [
            self.spans.columns(),
            self.events.columns(),
            self.links.columns(),
            self.resources.columns(),
            self.scopes.columns(),
        ]
    }

    fn attributes(&mut self) -> [&mut Attributes; 5] {
        [
            &mut self.span_attributes,
            &mut self.event_attributes,
            &mut self.link_attributes,
            &mut self.resource_attributes,
            &mut self.scope_attributes,
        ]
    }
}
