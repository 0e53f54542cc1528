// The page: a photo comes in, an answer goes out. model.json says which network it is and which artifacts there are.

import { decode, prepare } from "./photos.js";
import { open } from "./runtimes.js";

const SHOWN = 5;
const element = (id) => document.getElementById(id);
const model = await (await fetch(new URL("model.json", import.meta.url))).json();
let opened = null; // the artifact that is loaded, and how to run it
let queue = Promise.resolve(); // one thing after another: runtimes answer one photo at a time
let photo = null; // what was given last
let asked = 0; // a newer question makes an older one void

/** Answer a photo (a Blob) with an artifact: the most probable classes, the whole output, and milliseconds. */
export function classify(source, artifact) {
  const answer = queue.then(async () => {
    const started = performance.now();
    const input = prepare(await decode(source), model.reading);
    const prepared = performance.now();
    const run = await loaded(artifact);
    const ready = performance.now();
    const [output] = await run(input);
    const done = performance.now();
    const probabilities = toProbabilities(output);
    return { guesses: best(probabilities), probabilities, input, prepared: prepared - started, answered: done - ready };
  });
  queue = answer.catch(() => {});
  return answer;
}

async function loaded(artifact) {
  if (opened?.artifact !== artifact) {
    opened?.close();
    opened = null;
    const { run, close } = await open(artifact);
    opened = { artifact, run, close };
    await run(new Float32Array(artifact.shape.reduce((product, side) => product * side))); // the first run is slower
  }
  return opened.run;
}

function toProbabilities(output) {
  if (!model.scores && output.every((value) => value >= 0 && value <= 1)) return output;
  const most = output.reduce((a, b) => Math.max(a, b));
  const powers = output.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

function best(probabilities) {
  return Array.from(probabilities, (probability, number) => ({ probability, number }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, SHOWN)
    .map(({ probability, number }) => ({ name: model.labels?.[number] ?? `class ${number}`, probability, number }));
}

function say(text, isProblem = false) {
  element("status").textContent = text;
  element("status").classList.toggle("problem", isProblem);
}

async function show() {
  const question = ++asked, artifact = model.artifacts[element("artifact").value];
  if (!photo) return;
  say(opened?.artifact === artifact ? "Looking at the photo." : "Loading the network.");
  try {
    const answer = await classify(photo, artifact);
    if (question !== asked) return;
    draw(answer);
    say(`${artifact.title} answered.`);
  } catch (error) {
    if (question !== asked) return;
    draw(null);
    const unreadable = error instanceof DOMException && error.name === "InvalidStateError";
    say(unreadable ? "This browser cannot read that file as a photo. Choose a JPEG, PNG or WebP file." : String(error.message ?? error), true);
  }
}

function draw(answer) {
  element("times").hidden = !answer;
  element("guesses").replaceChildren(...(answer?.guesses ?? []).map(({ name, probability }) => {
    const item = document.createElement("li");
    const [label, percent, track, bar] = ["span", "span", "div", "div"].map((kind) => document.createElement(kind));
    label.className = "label";
    label.textContent = name;
    percent.className = "percent";
    percent.textContent = `${(100 * probability).toFixed(1)} %`;
    track.className = "track";
    track.setAttribute("aria-hidden", "true");
    bar.style.width = `${100 * probability}%`;
    track.append(bar);
    item.append(label, percent, track);
    return item;
  }));
  if (!answer) return;
  element("prepared").textContent = `${answer.prepared.toFixed(0)} ms`;
  element("answered").textContent = `${answer.answered.toFixed(1)} ms`;
}

function take(file, name = file.name) {
  photo = file;
  const preview = element("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = `The photo ${name}`;
  preview.hidden = false;
  preview.onerror = () => { preview.hidden = true; };
  element("hint").hidden = true;
  stopCamera();
  return show();
}

function stopCamera() {
  const video = element("video");
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  video.hidden = element("shoot").hidden = true;
  element("camera").textContent = "Use the camera";
}

async function toggleCamera() {
  const video = element("video");
  if (video.srcObject) {
    stopCamera();
    element("preview").hidden = !photo;
    return;
  }
  if (!navigator.mediaDevices) return say("The browser gives the camera to pages from https or localhost only.", true);
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return say(`There is no camera, or it was not allowed (${error.name}).`, true);
  }
  element("preview").hidden = element("hint").hidden = true;
  video.hidden = false;
  element("camera").textContent = "Stop the camera";
  try {
    await video.play(); // it has no size before
  } catch {
    return; // it was stopped meanwhile
  }
  element("shoot").hidden = false;
  element("shoot").focus();
}

async function shoot() {
  const video = element("video"), canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const taken = await new Promise((resolve) => canvas.toBlob(resolve));
  if (taken) await take(taken, "of the camera");
}

function listen() {
  const drop = element("drop"), file = element("file");
  file.addEventListener("change", () => file.files[0] && take(file.files[0]));
  element("artifact").addEventListener("change", show);
  element("camera").addEventListener("click", toggleCamera);
  element("shoot").addEventListener("click", shoot);
  // Anywhere on the page: beside the frame, the browser would leave the page to open the photo.
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => event.clipboardData.files[0] && take(event.clipboardData.files[0]));
}

function describe() {
  document.title = element("name").textContent = model.name;
  const classes = `It tells ${model.classes.toLocaleString("en")} classes apart.`;
  element("about").textContent = `${classes} Photos stay on this device: the network runs in the browser.`;
  element("artifact").replaceChildren(...model.artifacts.flatMap(({ title, bytes, back_end }, number) => {
    if (back_end === "webgpu" && !navigator.gpu) return [];
    const size = bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
    return [new Option(`${title}, ${size}`, number)];
  }));
  element("footer").textContent = `Runtimes: ${Object.entries(model.runtimes).map((pair) => pair.join(" ")).join(", ")}. ` +
    `Made by kerascnn ${model.made_by}.`;
}

describe();
listen();
say("Choose a photo.");
