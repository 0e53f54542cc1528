// node unpack.mjs kdz.wasm FILE.kdz OUTPUT: what a page does with the decoder as WebAssembly.
import { readFileSync, writeFileSync } from "node:fs";

const [module, file, target] = process.argv.slice(2);
const packed = readFileSync(file);
const { instance } = await WebAssembly.instantiate(readFileSync(module));
const { memory, kdz_inspect, kdz_unpack, __heap_base } = instance.exports;
const info = (__heap_base.value + 15) & ~15;
const from = info + 16;
const room = (end) => memory.grow(Math.max(0, Math.ceil((end - memory.buffer.byteLength) / 65536)));
room(from + packed.length);
new Uint8Array(memory.buffer).set(packed, from);
let code = kdz_inspect(from, packed.length, info);
if (code === 0) {
  const [size, workspace] = new Uint32Array(memory.buffer, info, 2);
  const to = from + packed.length;
  room(to + size + workspace);
  code = kdz_unpack(from, packed.length, to, size, to + size, workspace);
  writeFileSync(target, new Uint8Array(memory.buffer, to, size));
}
process.exit(code);
