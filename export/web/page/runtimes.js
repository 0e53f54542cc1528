// Runs artifacts in the browser: .tflite files in LiteRT.js, .onnx files in ONNX Runtime Web, both on the CPU (WASM).

const packages = new URL("runtimes/", import.meta.url);
let liteRt, onnx;

/** Load an artifact. `run` takes and gives a Float32Array; `close` gives its memory back. */
export async function open(artifact) {
  const answer = await fetch(new URL(artifact.path, import.meta.url));
  if (!answer.ok) throw new Error(`${artifact.path} could not be loaded (${answer.status}).`);
  const content = new Uint8Array(await answer.arrayBuffer());
  return artifact.format === "tflite" ? openTflite(content, artifact) : openOnnx(content, artifact);
}

async function openTflite(content, { shape }) {
  liteRt ??= startLiteRt();
  const { loadAndCompile, Tensor } = await liteRt;
  const model = await loadAndCompile(content, { accelerator: "wasm" });
  return {
    close: () => model.delete(),
    run: async (input) => {
      const tensor = new Tensor(input, shape);
      const outputs = await model.run(tensor);
      try {
        return outputs.map((output) => output.toTypedArray().slice());
      } finally {
        for (const one of [tensor, ...outputs]) one.delete();
      }
    },
  };
}

async function startLiteRt() {
  const library = await import("./runtimes/@litertjs/core/dist/index.js");
  // It tells of its own start on the console as if these were errors.
  globalThis.Module = { printErr: (text) => /^(INFO|WARNING)/.test(text) || console.error(text) };
  // It would ask for a GPU at its start, and warn where there is none.
  const create = library.Environment.create.bind(library.Environment);
  library.Environment.create = (options) => create({ webGpuDevice: null, ...options });
  await library.loadLiteRt(new URL("@litertjs/core/wasm/", packages).href);
  return library;
}

async function openOnnx(content, { shape }) {
  onnx ??= startOnnx();
  const { InferenceSession, Tensor } = await onnx;
  const session = await InferenceSession.create(content, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  const [input] = session.inputNames;
  return {
    close: () => session.release(),
    run: async (values) => {
      const results = await session.run({ [input]: new Tensor("float32", values, shape) });
      return session.outputNames.map((name) => results[name].data.slice());
    },
  };
}

async function startOnnx() {
  const library = await import("./runtimes/onnxruntime-web/dist/ort.wasm.min.mjs");
  library.env.wasm.wasmPaths = new URL("onnxruntime-web/dist/", packages).href;
  library.env.wasm.numThreads = 1; // more need headers that static hosts do not send
  return library;
}
