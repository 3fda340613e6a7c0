// An application on released Langfuse packages: asks whether its key is good, then sends a trace of two observations.
//
//   node langfuse.js FOLDER        reads LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY, LANGFUSE_BASE_URL
//
// Prints as JSON the trace id, the projects of the key, and what went wrong.
"use strict";

const path = require("node:path");

const load = (name) => require(require.resolve(name, { paths: [path.join(__dirname, process.argv[2])] }));

const { LangfuseClient } = load("@langfuse/client");
const { LangfuseSpanProcessor } = load("@langfuse/otel");
const { setLangfuseTracerProvider, startObservation } = load("@langfuse/tracing");
const { BasicTracerProvider } = load("@opentelemetry/sdk-trace-base");

async function main() {
  const processor = new LangfuseSpanProcessor();
  setLangfuseTracerProvider(new BasicTracerProvider({ spanProcessors: [processor] }));
  const answer = startObservation("answer", { input: "what to wear", output: "a coat" });
  const model = { model: "gpt-5", input: "rain?", output: "yes", usageDetails: { input: 12, output: 3 } };
  answer.startObservation("generation", model, { asType: "generation" }).end();
  answer.end();
  await processor.forceFlush().catch(() => {}); // a refusal, which the check of the key tells too
  const asked = await new LangfuseClient().api.projects.get().catch((error) => ({ data: [], error }));
  const projects = asked.data.map((project) => project.id);
  console.log(JSON.stringify({ traceId: answer.traceId, projects, status: asked.error?.statusCode ?? 200 }));
}

main();
