// From a photo to a network's input, with the numbers that Pillow and kerascnn.photos give. Android's own resizing gives
// others, so only decoding is left to it. Nothing here needs Android.

package kerascnn.app

import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min

private const val PRECISION = 22 // bits of Pillow's fixed-point weights for 8-bit images
private const val BOUNDED = 20 // sides of more than 1 to this are cut to it where only the middle is wanted

/** Pixels of 8 bits, row by row, the channels of a pixel side by side. */
class Image(val width: Int, val height: Int, val channels: Int, val data: ByteArray)

/**
 * How a photo becomes an input.
 *
 * `resize` is a height and a width, or one number for the shorter side, or empty; `crop` a height and a width, or empty.
 * `mean` and `std` have one number for each channel, or one for all.
 */
class Reading(
    val resize: IntArray,
    val crop: IntArray,
    val interpolation: String,
    val channelOrder: String,
    val mean: FloatArray,
    val std: FloatArray,
)

/** How a quantized tensor stores a number: (number - zeroPoint) * scale. */
class Step(val scale: Float, val zeroPoint: Int)

private class Filter(val support: Double, val weight: (Double) -> Double)

private val filters = mapOf(
    "bilinear" to Filter(1.0) { x -> max(0.0, 1 - abs(x)) },
    "bicubic" to Filter(2.0) { x ->
        val a = -0.5
        val t = abs(x)
        when {
            t < 1 -> ((a + 2) * t - (a + 3)) * t * t + 1
            t < 2 -> (((t - 5) * t + 8) * t - 4) * a
            else -> 0.0
        }
    },
)

/** Turns a decoded photo of 3 channels into an input: height x width x channels. */
fun prepare(photo: Image, how: Reading): FloatArray {
    var image = if (how.channelOrder == "gray") gray(photo) else photo
    if (how.resize.size == 2) {
        image = resize(image, how.resize[1], how.resize[0], how.interpolation)
    } else if (how.resize.size == 1) {
        if (how.crop.isNotEmpty()) image = middle(image)
        val short = min(image.width, image.height)
        val side = how.resize[0].toLong()
        val width = (side * image.width / short).toInt()
        val height = (side * image.height / short).toInt()
        image = resize(image, width, height, how.interpolation)
    }
    if (how.crop.size == 2) {
        val (height, width) = how.crop
        image = cut(image, roundHalf((image.width - width) / 2.0), roundHalf((image.height - height) / 2.0), width, height)
    }
    return normalize(image, how)
}

private fun gray(photo: Image): Image {
    val values = ByteArray(photo.width * photo.height)
    for (i in values.indices) {
        val red = photo.data[3 * i].toInt() and 255
        val green = photo.data[3 * i + 1].toInt() and 255
        val blue = photo.data[3 * i + 2].toInt() and 255
        values[i] = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) shr 16).toByte()
    }
    return Image(photo.width, photo.height, 1, values)
}

private fun middle(image: Image): Image {
    val longest = BOUNDED * min(image.width, image.height)
    if (max(image.width, image.height) <= longest) return image
    val width = min(image.width, longest)
    val height = min(image.height, longest)
    return cut(image, (image.width - width) / 2, (image.height - height) / 2, width, height)
}

/** Takes a part of an image; what lies outside of it is black. */
private fun cut(image: Image, left: Int, top: Int, width: Int, height: Int): Image {
    val channels = image.channels
    val data = ByteArray(width * height * channels)
    val first = max(0, left)
    val last = min(image.width, left + width)
    if (first < last) {
        for (y in max(0, top) until min(image.height, top + height)) {
            val from = (y * image.width + first) * channels
            val to = ((y - top) * width + first - left) * channels
            image.data.copyInto(data, to, from, from + (last - first) * channels)
        }
    }
    return Image(width, height, channels, data)
}

/** Rounds as Python does: halves to the even number. */
private fun roundHalf(x: Double): Int = Math.rint(x).toInt()

/** Resizes as Pillow does. */
fun resize(image: Image, width: Int, height: Int, interpolation: String): Image {
    if (width == image.width && height == image.height) return image
    if (interpolation == "nearest") return nearest(image, width, height)
    val filter = filters.getValue(interpolation)
    // Pillow 13 takes the vertical pass first where that makes the other one much shorter; this decides how it is rounded.
    val lost = image.height - height
    if (lost > 0 && lost > 2 * (image.width - width)) return across(down(image, height, filter), width, filter)
    return down(across(image, width, filter), height, filter)
}

private fun across(image: Image, width: Int, filter: Filter): Image {
    if (width == image.width) return image
    val result = Image(width, image.height, image.channels, ByteArray(width * image.height * image.channels))
    val along = weights(image.width, width, filter)
    for (y in 0 until image.height) {
        val from = y * image.width * image.channels
        pass(image.data, from, image.channels, result.data, y * width * image.channels, image.channels, image.channels, along)
    }
    return result
}

private fun down(image: Image, height: Int, filter: Filter): Image {
    if (height == image.height) return image
    val row = image.width * image.channels
    val result = Image(image.width, height, image.channels, ByteArray(height * row))
    val along = weights(image.height, height, filter)
    for (x in 0 until row) pass(image.data, x, row, result.data, x, row, 1, along)
    return result
}

/** The first source pixel of a pixel, and the weights of those from there on. */
private class Weights(val first: Int, val fixed: IntArray)

private fun weights(size: Int, wanted: Int, filter: Filter): List<Weights> {
    val scale = size.toDouble() / wanted
    val stretch = max(scale, 1.0)
    val support = filter.support * stretch
    return List(wanted) { place ->
        val center = (place + 0.5) * scale
        val first = max(0, (center - support + 0.5).toInt())
        val end = min(size, (center + support + 0.5).toInt())
        val raw = DoubleArray(end - first) { k -> filter.weight((k + first - center + 0.5) * (1 / stretch)) }
        val sum = raw.sum()
        Weights(first, IntArray(raw.size) { k ->
            val share = (if (sum == 0.0) raw[k] else raw[k] / sum) * (1 shl PRECISION)
            (if (share < 0) share - 0.5 else share + 0.5).toInt()
        })
    }
}

/** Resizes one line of pixels, which lie `step` apart. */
private fun pass(
    source: ByteArray, from: Int, step: Int, target: ByteArray, to: Int, targetStep: Int, channels: Int, along: List<Weights>,
) {
    var next = to
    for (pixel in along) {
        for (channel in 0 until channels) {
            var sum = 1 shl (PRECISION - 1)
            var at = from + pixel.first * step + channel
            for (weight in pixel.fixed) {
                sum += (source[at].toInt() and 255) * weight
                at += step
            }
            target[next + channel] = (sum shr PRECISION).coerceIn(0, 255).toByte()
        }
        next += targetStep
    }
}

private fun nearest(image: Image, width: Int, height: Int): Image {
    val channels = image.channels
    val data = ByteArray(width * height * channels)
    val columns = places(image.width, width)
    var to = 0
    for (y in places(image.height, height)) {
        for (x in columns) {
            val from = (y * image.width + x) * channels
            for (channel in 0 until channels) data[to++] = image.data[from + channel]
        }
    }
    return Image(width, height, channels, data)
}

/** Pillow adds the steps up, and what it loses by rounding decides where two pixels are equally near. */
private fun places(size: Int, wanted: Int): IntArray {
    val scale = size.toDouble() / wanted
    var at = scale * 0.5
    return IntArray(wanted) { min(size - 1, at.toInt()).also { at += scale } }
}

/** Brings pixels to channel order, mean and scale, in float32 arithmetic as NumPy does. */
private fun normalize(image: Image, how: Reading): FloatArray {
    val channels = image.channels
    return FloatArray(image.data.size) { index ->
        val k = index % channels
        val from = if (how.channelOrder == "bgr") index - k + channels - 1 - k else index
        val mean = how.mean[if (how.mean.size == 1) 0 else k]
        val std = how.std[if (how.std.size == 1) 0 else k]
        ((image.data[from].toInt() and 255) - mean) / std
    }
}

/** Writes numbers as a quantized input takes them. */
fun quantize(values: FloatArray, step: Step): ByteArray =
    ByteArray(values.size) { k -> (Math.rint((values[k] / step.scale).toDouble()) + step.zeroPoint).coerceIn(-128.0, 127.0).toInt().toByte() }

/** Reads the numbers of a quantized output. */
fun dequantize(values: ByteArray, step: Step): FloatArray = FloatArray(values.size) { k -> (values[k] - step.zeroPoint) * step.scale }

/** Gives probabilities: what the network gives, or the softmax of its scores. */
fun probabilities(output: FloatArray, scores: Boolean): FloatArray {
    if (!scores && output.all { it in 0f..1f }) return output
    val most = output.max()
    val powers = FloatArray(output.size) { exp(output[it] - most) }
    val sum = powers.sum()
    return FloatArray(output.size) { powers[it] / sum }
}

/** Gives the numbers of the most probable classes, the best one first. */
fun best(probabilities: FloatArray, count: Int): List<Int> =
    probabilities.indices.sortedByDescending { probabilities[it] }.take(count)
