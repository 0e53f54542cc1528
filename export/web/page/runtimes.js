// Runs artifacts in the browser: .tflite files in LiteRT.js, .onnx files in ONNX Runtime Web. Both compute on the CPU
// (WASM); LiteRT.js also on a GPU (WebGPU), where the artifact's `back_end` says so.

const packages = new URL("runtimes/", import.meta.url);
let liteRt, onnx, gpu;

/** Load an artifact. `run` takes and gives a Float32Array; `close` gives its memory back. */
export async function open(artifact) {
  const answer = await fetch(new URL(artifact.path, import.meta.url));
  if (!answer.ok) throw new Error(`${artifact.path} could not be loaded (${answer.status}).`);
  const content = new Uint8Array(await answer.arrayBuffer());
  return artifact.format === "tflite" ? openTflite(content, artifact) : openOnnx(content, artifact);
}

/** What is known of the GPU; null where the browser has none for pages. */
export async function findGpu() {
  return (await navigator.gpu?.requestAdapter())?.info ?? null;
}

async function openTflite(content, { shape, back_end: accelerator = "wasm" }) {
  liteRt ??= startLiteRt();
  const { Environment, loadAndCompile, Tensor } = await liteRt;
  let environment;
  if (accelerator === "webgpu") {
    if (!(await findGpu())) throw new Error("This device has no GPU that pages can use. Choose a line without GPU.");
    environment = await (gpu ??= Environment.withGpu());
  }
  const model = await loadAndCompile(content, { accelerator, environment, gpuOptions: { precision: "fp32" } });
  return {
    close: () => model.delete(),
    run: async (input) => {
      let tensor = new Tensor(input, shape, environment);
      if (environment) tensor = await tensor.moveTo("webgpu");
      const outputs = await model.run(tensor);
      tensor.delete();
      const results = [];
      for (let output of outputs) {
        if (environment) output = await output.moveTo("wasm");
        results.push(output.toTypedArray().slice());
        output.delete();
      }
      return results;
    },
  };
}

async function startLiteRt() {
  const library = await import("./runtimes/@litertjs/core/dist/index.js");
  // It tells of its own start on the console, some of it as if these were errors.
  const said = (text) => /^(INFO|WARNING|[IW]\d{4} )/.test(text) || console.error(text);
  globalThis.Module = { print: said, printErr: said };
  // It would ask for a GPU at its start, and warn where there is none.
  const create = library.Environment.create.bind(library.Environment);
  library.Environment.create = (options) => create({ webGpuDevice: null, ...options });
  library.Environment.withGpu = () => create();
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
