// An application on released OpenTelemetry packages, exporters as they come: sends a few spans in one request.
//
//   node application.js RELEASE http|proto|grpc URL none|gzip
//
// Prints as JSON what it was told, and the spans as its SDK handed them to the exporter.
"use strict";

const path = require("node:path");

const [release, encoding, url, compression] = process.argv.slice(2);
const load = (name) => require(require.resolve(name, { paths: [path.join(__dirname, release)] }));

const { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } = load("@opentelemetry/api");
const { OTLPTraceExporter } = load(`@opentelemetry/exporter-trace-otlp-${encoding}`);
const resources = load("@opentelemetry/resources");
const sdk = loadFirst("@opentelemetry/sdk-trace", "@opentelemetry/sdk-trace-base");

const RESOURCE = { "service.name": "node ☀️", "process.pid": 7, "host.tags": ["a", "b"] };
const ATTRIBUTES = {
  text: 'Zürich ☀️ "quoted"\n',
  empty: "",
  cut: "half an emoji: \ud83d",
  yes: true,
  no: false,
  whole: 7,
  negative: -3,
  wide: 2 ** 40,
  widest: Number.MAX_SAFE_INTEGER,
  real: 0.1,
  huge: 1.5e300,
  nan: NaN,
  infinite: -Infinity,
  texts: ["a", "", "ü"],
  wholes: [1, 2, 3],
  reals: [0.5, 1.25],
  flags: [true, false],
  sparse: ["a", null, "b"],
  nothing: [],
  bytes: new Uint8Array([0, 127, 255]),
  map: { city: "Paris", inner: { list: [1, "two", true] } },
};
const START = [1795267000, 123456789];

function loadFirst(...names) {
  for (const name of names) {
    try {
      return load(name);
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new Error(`none of ${names} is installed in ${release}`);
}

function finishedSpans() {
  const finished = [];
  const processor = { onStart() {}, onEnd: (span) => finished.push(span), forceFlush: async () => {}, shutdown: async () => {} };
  const resource = resources.resourceFromAttributes?.(RESOURCE) ?? new resources.Resource(RESOURCE);
  const Provider = sdk.TracerProvider ?? sdk.BasicTracerProvider;
  const provider = new Provider({ resource, spanProcessors: [processor] });
  provider.addSpanProcessor?.(processor); // the way before 2.0
  record(provider.getTracer("node.application", "1.2.3"));
  return finished;
}

function record(tracer) {
  const earlier = tracer.startSpan("earlier", { startTime: START, root: true }, ROOT_CONTEXT);
  earlier.end([START[0], START[1] + 1]);
  const links = [{ context: earlier.spanContext(), attributes: { why: "earlier", times: 2 } }];
  const parent = tracer.startSpan("parent", { kind: SpanKind.SERVER, startTime: START, links }, ROOT_CONTEXT);
  const within = trace.setSpan(ROOT_CONTEXT, parent);
  const child = tracer.startSpan("child", { kind: SpanKind.CLIENT, startTime: START, attributes: ATTRIBUTES }, within);
  child.addEvent("first token", { n: 1, text: "Zürich" }, [START[0] + 1, 987654321]);
  child.addEvent("bare", [START[0] + 1, 987654322]);
  child.setStatus({ code: SpanStatusCode.ERROR, message: "no such city" });
  child.end([START[0] + 2, 1]);
  parent.end([START[0] + 3, 2]);
}

function described(span) {
  return {
    trace_id: span.spanContext().traceId,
    span_id: span.spanContext().spanId,
    parent_id: span.parentSpanContext?.spanId ?? span.parentSpanId ?? "",
    name: span.name,
    kind: span.kind + 1,
    start: span.startTime,
    end: span.endTime,
    status_code: span.status.code,
    status_message: span.status.message ?? "",
    attributes: tagged(span.attributes),
    events: span.events.map(({ name, time, attributes }) => ({ name, time, attributes: tagged(attributes ?? {}) })),
    links: span.links.map(({ context, attributes }) => ({
      trace_id: context.traceId,
      span_id: context.spanId,
      attributes: tagged(attributes ?? {}),
    })),
  };
}

// JSON has one kind of number, and none that is not finite.
function tagged(value) {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return { number: String(value) };
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(tagged);
  return { map: Object.entries(value).map(([key, inner]) => [key, tagged(inner)]) };
}

const spans = finishedSpans();
const exporter = new OTLPTraceExporter({ url, compression });
exporter.export(spans, async (result) => {
  const { name, version } = spans[0].instrumentationScope ?? spans[0].instrumentationLibrary;
  const told = { code: result.code, error: String(result.error ?? "") };
  const scope = { name, version };
  console.log(JSON.stringify({ told, scope, resource: tagged(spans[0].resource.attributes), spans: spans.map(described) }));
  await exporter.shutdown();
});
