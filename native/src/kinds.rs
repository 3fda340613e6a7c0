//! Which fields of OTLP's messages hold messages, or text that may repeat (opentelemetry-proto 1.9, trace.proto).

/// A kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ExportTraceServiceRequest`.
    Request,
    /// `ResourceSpans`.
    ResourceSpans,
    /// `Resource`.
    Resource,
    /// `EntityRef`.
    EntityRef,
    /// `ScopeSpans`.
    ScopeSpans,
    /// `InstrumentationScope`.
    Scope,
    /// `Span`.
    Span,
    /// `Span.Event`.
    Event,
    /// `Span.Link`.
    Link,
    /// `Status`.
    Status,
    /// `KeyValue`.
    KeyValue,
    /// `AnyValue`.
    AnyValue,
    /// `ArrayValue`.
    ArrayValue,
    /// `KeyValueList`.
    KeyValueList,
}

/// What a field holds that counts as a part of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A message.
    Message(Kind),
    /// Text that may repeat.
    Text,
}

/// All kinds, for what has to look at each.
pub const KINDS: [Kind; 14] = [
    Kind::Request,
    Kind::ResourceSpans,
    Kind::Resource,
    Kind::EntityRef,
    Kind::ScopeSpans,
    Kind::Scope,
    Kind::Span,
    Kind::Event,
    Kind::Link,
    Kind::Status,
    Kind::KeyValue,
    Kind::AnyValue,
    Kind::ArrayValue,
    Kind::KeyValueList,
];

impl Kind {
    /// The parts of such a message by field number; other fields are values or unknown.
    pub const fn parts(self) -> &'static [(u32, Part)] {
        match self {
            Self::Request => &[(1, Part::Message(Self::ResourceSpans))],
            Self::ResourceSpans => &[(1, Part::Message(Self::Resource)), (2, Part::Message(Self::ScopeSpans))],
            Self::Resource => &[(1, Part::Message(Self::KeyValue)), (3, Part::Message(Self::EntityRef))],
            Self::EntityRef => &[(3, Part::Text), (4, Part::Text)],
            Self::ScopeSpans => &[(1, Part::Message(Self::Scope)), (2, Part::Message(Self::Span))],
            Self::Scope | Self::Event => &[(3, Part::Message(Self::KeyValue))],
            Self::Span => &[
                (9, Part::Message(Self::KeyValue)),
                (11, Part::Message(Self::Event)),
                (13, Part::Message(Self::Link)),
                (15, Part::Message(Self::Status)),
            ],
            Self::Link => &[(4, Part::Message(Self::KeyValue))],
            Self::Status => &[],
            Self::KeyValue => &[(2, Part::Message(Self::AnyValue))],
            Self::AnyValue => &[(5, Part::Message(Self::ArrayValue)), (6, Part::Message(Self::KeyValueList))],
            Self::ArrayValue => &[(1, Part::Message(Self::AnyValue))],
            Self::KeyValueList => &[(1, Part::Message(Self::KeyValue))],
        }
    }

    /// What a field of such a message holds, none when that is no part.
    #[inline]
    pub fn part(self, number: u32) -> Option<Part> {
        self.parts().iter().find(|(found, _)| *found == number).map(|(_, part)| *part)
    }
}
