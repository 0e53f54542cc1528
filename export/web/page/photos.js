// From a photo to a network's input, with the numbers that Pillow and kerascnn.photos give.
// A canvas resizes in another way than Pillow, so only decoding is left to the browser.

const PRECISION = 22; // bits of Pillow's fixed-point weights for 8-bit images
const STRIP = 512; // rows read at once: some phones have no canvas for a whole photo
const BOUNDED = 20; // sides of more than 1 to this are cut to it where only the middle is wanted

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight: (x) => {
      const a = -0.5, t = Math.abs(x);
      if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
      return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
    },
  },
};

/** Decode a file, or take a frame of a video: upright, colors as stored, transparency left out. */
export async function decode(source) {
  const bitmap = await createImageBitmap(source, {
    imageOrientation: "from-image",
    premultiplyAlpha: "none",
    colorSpaceConversion: "none",
  });
  const { width, height } = bitmap;
  const rgba = read(bitmap);
  for (let i = 3; i < rgba.length; i += 4) {
    if (rgba[i] !== 255) {
      readStraight(bitmap, rgba);
      break;
    }
  }
  bitmap.close();
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    data[to] = rgba[from];
    data[to + 1] = rgba[from + 1];
    data[to + 2] = rgba[from + 2];
  }
  return { width, height, channels: 3, data };
}

function read(bitmap) {
  const { width, height } = bitmap;
  const rgba = new Uint8ClampedArray(width * height * 4);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = Math.min(height, STRIP);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    context.clearRect(0, 0, width, canvas.height);
    context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    rgba.set(context.getImageData(0, 0, width, rows).data, top * width * 4);
  }
  return rgba;
}

/** Read colors below transparency, which a canvas multiplies away. Where the device cannot, they stay as they are. */
function readStraight(bitmap, rgba) {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl || Math.max(bitmap.width, bitmap.height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return;
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const pixels = new Uint8Array(rgba.length);
  gl.readPixels(0, 0, bitmap.width, bitmap.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  if (gl.getError() === gl.NO_ERROR) rgba.set(pixels);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
}

/** Turn a decoded photo into a network's input: a Float32Array of height x width x channels. */
export function prepare(photo, how) {
  let image = how.channel_order === "gray" ? gray(photo) : photo;
  if (Array.isArray(how.resize)) {
    image = resize(image, how.resize[1], how.resize[0], how.interpolation);
  } else if (how.resize !== null) {
    if (how.crop) image = middle(image);
    const short = Math.min(image.width, image.height);
    const scaled = (side) => Math.trunc((how.resize * side) / short);
    image = resize(image, scaled(image.width), scaled(image.height), how.interpolation);
  }
  if (how.crop) {
    const [height, width] = how.crop;
    image = cut(image, roundHalf((image.width - width) / 2), roundHalf((image.height - height) / 2), width, height);
  }
  return normalize(image, how);
}

function gray({ width, height, data }) {
  const values = new Uint8Array(width * height);
  for (let i = 0, k = 0; i < values.length; i++, k += 3) {
    values[i] = (data[k] * 19595 + data[k + 1] * 38470 + data[k + 2] * 7471 + 0x8000) >> 16;
  }
  return { width, height, channels: 1, data: values };
}

function middle(image) {
  const longest = BOUNDED * Math.min(image.width, image.height);
  if (Math.max(image.width, image.height) <= longest) return image;
  const width = Math.min(image.width, longest), height = Math.min(image.height, longest);
  return cut(image, Math.floor((image.width - width) / 2), Math.floor((image.height - height) / 2), width, height);
}

/** Take a part of an image; what lies outside of it is black. */
function cut(image, left, top, width, height) {
  const { channels } = image, data = new Uint8Array(width * height * channels);
  const first = Math.max(0, left), last = Math.min(image.width, left + width);
  for (let y = Math.max(0, top); first < last && y < Math.min(image.height, top + height); y++) {
    const row = y * image.width;
    data.set(image.data.subarray((row + first) * channels, (row + last) * channels),
      ((y - top) * width + first - left) * channels);
  }
  return { width, height, channels, data };
}

/** Round as Python does: halves to the even number. */
function roundHalf(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low & 1) : Math.round(x);
}

/** Resize as Pillow does. */
export function resize(image, width, height, interpolation) {
  if (width === image.width && height === image.height) return image;
  if (interpolation === "nearest") return nearest(image, width, height);
  const passes = [
    (from) => width === from.width ? from : across(from, width, FILTERS[interpolation]),
    (from) => height === from.height ? from : down(from, height, FILTERS[interpolation]),
  ];
  // Pillow 13 takes the vertical pass first where that makes the other one much shorter; this decides how it is rounded.
  const lost = image.height - height;
  if (lost > 0 && lost > 2 * (image.width - width)) passes.reverse();
  return passes[1](passes[0](image));
}

function across(image, width, filter) {
  const { channels, height } = image, data = new Uint8Array(width * height * channels);
  const along = weights(image.width, width, filter);
  for (let y = 0; y < height; y++) {
    pass(image.data, y * image.width * channels, channels, data, y * width * channels, channels, channels, along);
  }
  return { width, height, channels, data };
}

function down(image, height, filter) {
  const { channels, width } = image, row = width * channels, data = new Uint8Array(height * row);
  const along = weights(image.height, height, filter);
  for (let x = 0; x < row; x++) pass(image.data, x, row, data, x, row, 1, along);
  return { width, height, channels, data };
}

/** Give each pixel of a line its first source pixel and the weights of those from there on. */
function weights(size, wanted, filter) {
  const scale = size / wanted, stretch = Math.max(scale, 1), support = filter.support * stretch;
  return Array.from({ length: wanted }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(size, Math.trunc(center + support + 0.5));
    const raw = Array.from({ length: end - first }, (_, k) => filter.weight((k + first - center + 0.5) * (1 / stretch)));
    let sum = 0;
    for (const weight of raw) sum += weight;
    const fixed = raw.map((weight) => {
      const share = (sum === 0 ? weight : weight / sum) * 2 ** PRECISION;
      return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
    return { first, fixed: Int32Array.from(fixed) };
  });
}

/** Resize one line of pixels, which lie `step` apart. */
function pass(source, from, step, target, to, targetStep, channels, along) {
  for (const { first, fixed } of along) {
    for (let channel = 0; channel < channels; channel++) {
      let sum = 1 << (PRECISION - 1);
      for (let k = 0, at = from + first * step + channel; k < fixed.length; k++, at += step) sum += source[at] * fixed[k];
      const value = sum >> PRECISION;
      target[to + channel] = value < 0 ? 0 : value > 255 ? 255 : value;
    }
    to += targetStep;
  }
}

function nearest(image, width, height) {
  const { channels } = image, data = new Uint8Array(width * height * channels);
  const places = (size, wanted) => {
    const found = new Int32Array(wanted), scale = size / wanted;
    // Pillow adds the steps up, and what it loses by rounding decides where two pixels are equally near.
    for (let k = 0, at = scale * 0.5; k < wanted; k++, at += scale) found[k] = Math.min(size - 1, Math.trunc(at));
    return found;
  };
  const columns = places(image.width, width);
  let to = 0;
  for (const y of places(image.height, height)) {
    for (const x of columns) {
      const from = (y * image.width + x) * channels;
      for (let channel = 0; channel < channels; channel++) data[to++] = image.data[from + channel];
    }
  }
  return { width, height, channels, data };
}

/** Bring pixels to channel order, mean and scale, in float32 arithmetic as NumPy does. */
function normalize({ channels, data }, how) {
  const input = new Float32Array(data.length), { fround } = Math;
  const each = (numbers) => Array.from({ length: channels }, (_, k) => fround(numbers[numbers.length === 1 ? 0 : k]));
  const mean = each(how.mean), std = each(how.std);
  for (let at = 0; at < data.length; at += channels) {
    for (let k = 0; k < channels; k++) {
      const value = data[at + (how.channel_order === "bgr" ? channels - 1 - k : k)];
      input[at + k] = fround(fround(value - mean[k]) / std[k]);
    }
  }
  return input;
}
