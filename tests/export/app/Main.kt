package kerascnn.app

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Prepares photos: each line of standard input names pixels, how to prepare them, and a file for the numbers. */
fun main() {
    for (line in generateSequence(::readlnOrNull)) {
        val (pixels, width, height, resize, crop) = line.split(' ')
        val (interpolation, order, mean, std, output) = line.split(' ').drop(5)
        val photo = Image(width.toInt(), height.toInt(), 3, File(pixels).readBytes())
        val how = Reading(
            numbers(resize).map { it.toInt() }.toIntArray(), numbers(crop).map { it.toInt() }.toIntArray(), interpolation,
            order, numbers(mean).map { it.toFloat() }.toFloatArray(), numbers(std).map { it.toFloat() }.toFloatArray(),
        )
        val input = prepare(photo, how)
        val step = Step(0.0317f, -9)
        check(best(probabilities(input, true), 2).size == 2)
        val bytes = ByteBuffer.allocate(5 * input.size).order(ByteOrder.LITTLE_ENDIAN)
        input.forEach(bytes::putFloat)
        File(output).writeBytes(bytes.put(quantize(input, step)).array())
    }
}

private fun numbers(text: String): List<Double> = if (text == "-") listOf() else text.split(',').map { it.toDouble() }
