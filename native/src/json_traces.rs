//! One request in OTLP/JSON into the tables, as `otlp_receiver/decode/otlp_json.py` reads it; what is odd is declined.

use crate::appender::{Appender, Taken};
use crate::attributes::Attributes;
use crate::declined::{Declined, Done};
use crate::json_any_value::Held;
use crate::json_nodes::Value;
use crate::json_values::{KEY_VALUE, Maybe, Names, enumerated, fields, hexadecimal, items, text, uint32, uint64};
use crate::records::{Link, Scope, Span};
use crate::tables::Tables;

// The fields of each message, in the order that OpenTelemetry's JavaScript SDK has them.
const ATTRIBUTES: Names = &["attributes"];
const DROPPED: Names = &["droppedAttributesCount", "dropped_attributes_count"];
const SCHEMA_URL: Names = &["schemaUrl", "schema_url"];
const REQUEST: [Names; 1] = [&["resourceSpans", "resource_spans"]];
const RESOURCE_SPANS: [Names; 3] = [
    &["resource"],
    &["scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans"],
    SCHEMA_URL,
];
const RESOURCE: [Names; 2] = [ATTRIBUTES, DROPPED];
const SCOPE_SPANS: [Names; 3] =
    [&["scope", "instrumentationLibrary", "instrumentation_library"], &["spans"], SCHEMA_URL];
const SCOPE: [Names; 4] = [&["name"], &["version"], ATTRIBUTES, DROPPED];
const SPAN: [Names; 16] = [
    &["traceId", "trace_id"],
    &["spanId", "span_id"],
    &["parentSpanId", "parent_span_id"],
    &["traceState", "trace_state"],
    &["name"],
    &["kind"],
    &["startTimeUnixNano", "start_time_unix_nano"],
    &["endTimeUnixNano", "end_time_unix_nano"],
    ATTRIBUTES,
    DROPPED,
    &["events"],
    &["droppedEventsCount", "dropped_events_count"],
    &["status"],
    &["links"],
    &["droppedLinksCount", "dropped_links_count"],
    &["flags"],
];
const STATUS: [Names; 2] = [&["code"], &["message"]];
const EVENT: [Names; 4] = [ATTRIBUTES, &["name"], &["timeUnixNano", "time_unix_nano"], DROPPED];
const LINK: [Names; 6] =
    [ATTRIBUTES, &["spanId", "span_id"], &["traceId", "trace_id"], &["traceState", "trace_state"], DROPPED, &["flags"]];

// Members of the enums, by number.
const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// Reads one request.
pub struct JsonReader<'t> {
    rows: Appender<'t>,
    most_spans: usize,
}

impl<'t> JsonReader<'t> {
    /// Appends to `tables`, as request `number`, at most so many spans.
    pub fn new(tables: &'t mut Tables, number: i32, most_spans: usize) -> Self {
        Self { rows: Appender::new(tables, number), most_spans }
    }

    /// Appends a whole request; once declined, the tables hold some of it.
    pub fn read(mut self, request: Value) -> Result<Taken, Declined> {
        let [resource_spans] = fields(Some(request), &REQUEST)?;
        for (place, entry) in objects(resource_spans)? {
            self.resource_spans(entry, place)?;
        }
        Ok(self.rows.taken)
    }

    fn resource_spans(&mut self, entry: Maybe, place: usize) -> Done {
        let [resource, scope_spans, schema_url] = fields(entry, &RESOURCE_SPANS)?;
        let [attributes, dropped] = fields(resource, &RESOURCE)?;
        self.rows.resource(text(schema_url)?.text().as_bytes(), uint32(dropped)?);
        push_attributes(&mut self.rows.tables.resource_attributes, attributes, true)?;
        let before = self.rows.taken.spans;
        for (scope, entry) in objects(scope_spans)? {
            self.scope_spans(entry, [place, scope])?;
        }
        self.rows.repeat_resource(before);
        Ok(())
    }

    fn scope_spans(&mut self, entry: Maybe, [resource, scope]: [usize; 2]) -> Done {
        let [owner, spans, schema_url] = fields(entry, &SCOPE_SPANS)?;
        self.scope(owner, schema_url)?;
        let before = self.rows.taken.spans;
        for (span, entry) in objects(spans)? {
            self.span(entry, [resource, scope, span])?;
        }
        self.rows.repeat_scope(before);
        Ok(())
    }

    fn scope(&mut self, scope: Maybe, schema_url: Maybe) -> Done {
        let [name, version, attributes, dropped] = fields(scope, &SCOPE)?;
        self.rows.scope(&Scope {
            name: text(name)?.text().as_bytes(),
            version: text(version)?.text().as_bytes(),
            schema_url: text(schema_url)?.text().as_bytes(),
            dropped_attributes_count: uint32(dropped)?,
        });
        push_attributes(&mut self.rows.tables.scope_attributes, attributes, true)
    }

    fn span(&mut self, span: Maybe, place: [usize; 3]) -> Done {
        if self.rows.taken.spans >= self.most_spans {
            return Err(Declined);
        }
        let found = fields(span, &SPAN)?;
        let [.., attributes, _, events, _, _, links, _, _] = found;
        let Some(row) = self.row(&found, place)? else { return Ok(()) };
        push_attributes(&mut self.rows.tables.span_attributes, attributes, false)?;
        for (_, event) in objects(events)? {
            self.event(event, row)?;
        }
        for (_, link) in objects(links)? {
            self.link(link, row)?;
        }
        Ok(())
    }

    /// Appends the row of a span; none for a span that is refused.
    fn row(&mut self, found: &[Maybe; 16], place: [usize; 3]) -> Result<Option<i32>, Declined> {
        let [trace_id, span_id, parent_span_id, trace_state, name, kind, start, end, ..] = *found;
        let [.., dropped, _, dropped_events, status, _, dropped_links, flags] = *found;
        let [code, message] = fields(status, &STATUS)?;
        let (trace_state, name, message) = (text(trace_state)?.text(), text(name)?.text(), text(message)?.text());
        let span = Span {
            trace_id: &hexadecimal(trace_id)?,
            span_id: &hexadecimal(span_id)?,
            parent_span_id: &hexadecimal(parent_span_id)?,
            trace_state: trace_state.as_bytes(),
            flags: uint32(flags)?,
            name: name.as_bytes(),
            kind: enumerated(kind, &KINDS)?,
            start_time_unix_nano: uint64(start)?.ok_or(Declined)?,
            end_time_unix_nano: uint64(end)?.ok_or(Declined)?,
            dropped_attributes_count: uint32(dropped)?,
            dropped_events_count: uint32(dropped_events)?,
            dropped_links_count: uint32(dropped_links)?,
            status_code: enumerated(code, &STATUS_CODES)?,
            status_message: message.as_bytes(),
        };
        Ok(self.rows.span(&span, place))
    }

    fn event(&mut self, event: Maybe, span: i32) -> Done {
        let [attributes, name, time, dropped] = fields(event, &EVENT)?;
        let time = uint64(time)?.unwrap_or(0);
        self.rows.event(span, time, text(name)?.text().as_bytes(), uint32(dropped)?);
        push_attributes(&mut self.rows.tables.event_attributes, attributes, false)
    }

    fn link(&mut self, link: Maybe, span: i32) -> Done {
        let [attributes, span_id, trace_id, trace_state, dropped, flags] = fields(link, &LINK)?;
        let trace_state = text(trace_state)?.text();
        let link = Link {
            trace_id: &hexadecimal(trace_id)?,
            span_id: &hexadecimal(span_id)?,
            trace_state: trace_state.as_bytes(),
            flags: uint32(flags)?,
            dropped_attributes_count: uint32(dropped)?,
        };
        self.rows.link(span, &link);
        push_attributes(&mut self.rows.tables.link_attributes, attributes, false)
    }
}

/// The entries of an array that are not null, each with its place.
fn objects<'n, 'a>(array: Maybe<'n, 'a>) -> Result<impl Iterator<Item = (usize, Maybe<'n, 'a>)>, Declined> {
    Ok(items(array)?.enumerate().filter(|(_, item)| item.is_some()))
}

/// Appends the attributes of one more owner, and counts them when each span carries them.
fn push_attributes(table: &mut Attributes, list: Maybe, is_repeated: bool) -> Done {
    table.open();
    for (_, attribute) in objects(list)? {
        let [key, value] = fields(attribute, &KEY_VALUE)?;
        let (key, held) = (text(key)?.text(), Held::read(value)?);
        let written = table.push_value(key.as_bytes(), held.kind(), |out| held.append_text(out))?;
        if is_repeated {
            let size = sent_size(&held, written);
            table.add_sent(key.len() + size);
        }
    }
    Ok(())
}

/// As the Python decoder measures what it keeps: text in characters, JSON in bytes.
fn sent_size(held: &Held, written: &[u8]) -> usize {
    match held {
        Held::Array(_) | Held::Map(_) => written.len(),
        _ => written.iter().filter(|byte| **byte & 0xC0 != 0x80).count(),
    }
}
