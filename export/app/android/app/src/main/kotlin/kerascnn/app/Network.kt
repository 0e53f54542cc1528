package kerascnn.app

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import org.json.JSONArray
import org.json.JSONObject

/** One .tflite file of the export; `input` and `output` are null where these are float32. */
class Artifact(val path: String, val title: String, val input: Step?, val output: Step?)

/** What model.json says of the network. */
class Description(assets: AssetManager) {
    private val json = JSONObject(assets.open("model.json").bufferedReader().use { it.readText() })
    private val labels: JSONArray? = json.optJSONArray("labels")
    val name: String = json.getString("name")
    val scores: Boolean = json.getBoolean("scores")
    val reading: Reading = json.getJSONObject("reading").let {
        Reading(
            numbers(it.optJSONArray("resize")).map(Double::toInt).toIntArray(),
            numbers(it.optJSONArray("crop")).map(Double::toInt).toIntArray(),
            it.getString("interpolation"),
            it.getString("channel_order"),
            numbers(it.optJSONArray("mean")).map(Double::toFloat).toFloatArray(),
            numbers(it.optJSONArray("std")).map(Double::toFloat).toFloatArray(),
        )
    }
    val artifacts: List<Artifact> = json.getJSONArray("artifacts").let { rows ->
        List(rows.length()) { k ->
            val row = rows.getJSONObject(k)
            Artifact(row.getString("path"), row.getString("title"), step(row.optJSONArray("input")), step(row.optJSONArray("output")))
        }
    }

    fun label(number: Int): String = labels?.getString(number) ?: "class $number"

    private fun numbers(array: JSONArray?): List<Double> = List(array?.length() ?: 0) { array!!.getDouble(it) }

    private fun step(array: JSONArray?): Step? = array?.let { Step(it.getDouble(0).toFloat(), it.getInt(1)) }
}

/** An artifact that is loaded, on the processor. */
class Network(assets: AssetManager, private val artifact: Artifact) : AutoCloseable {
    private val model = CompiledModel.create(assets, artifact.path, CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    fun run(input: FloatArray): FloatArray {
        if (artifact.input == null) inputs[0].writeFloat(input) else inputs[0].writeInt8(quantize(input, artifact.input))
        model.run(inputs, outputs)
        return if (artifact.output == null) outputs[0].readFloat() else dequantize(outputs[0].readInt8(), artifact.output)
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }
}
