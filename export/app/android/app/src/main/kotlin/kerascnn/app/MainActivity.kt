package kerascnn.app

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Bundle
import android.provider.MediaStore
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.Spinner
import android.widget.TextView
import java.io.IOException
import java.nio.ByteBuffer
import java.util.Locale
import java.util.concurrent.Executors

private const val CHOOSE = 1
private const val SHOOT = 2
private const val SHOWN = 5
private const val MOST_PIXELS = 50_000_000L // photos of more are halved as they are decoded, for lack of memory
private const val BAR = 1000

/** A photo comes in, an answer goes out. */
class MainActivity : Activity() {
    private class Answer(val guesses: List<Pair<String, Float>>, val prepared: Double, val answered: Double)

    private val worker = Executors.newSingleThreadExecutor() // one thing after another
    private lateinit var description: Description
    private var loaded: Pair<Artifact, Network>? = null // of the worker's thread
    private var photo: Uri? = null
    private var asked = 0 // a newer question makes an older one void

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        description = Description(assets)
        title = description.name
        findViewById<Button>(R.id.choose).setOnClickListener { choose() }
        findViewById<Button>(R.id.camera).setOnClickListener { shoot() }
        val titles = description.artifacts.map { it.title }
        val spinner = findViewById<Spinner>(R.id.artifact)
        spinner.adapter = ArrayAdapter(this, android.R.layout.simple_spinner_dropdown_item, titles)
        spinner.onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
            override fun onItemSelected(parent: AdapterView<*>?, view: View?, position: Int, id: Long) = show()

            override fun onNothingSelected(parent: AdapterView<*>?) = Unit
        }
    }

    override fun onDestroy() {
        worker.execute { loaded?.second?.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun choose() = start(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), CHOOSE, "no app that chooses photos")

    private fun shoot() {
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE)
            .putExtra(MediaStore.EXTRA_OUTPUT, CameraFile.address(this))
            .addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION or Intent.FLAG_GRANT_READ_URI_PERMISSION)
        start(intent, SHOOT, "no camera app")
    }

    private fun start(intent: Intent, code: Int, missing: String) {
        try {
            startActivityForResult(intent, code)
        } catch (error: ActivityNotFoundException) {
            say("This device has $missing.")
        }
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        if (resultCode != RESULT_OK) return
        photo = if (requestCode == SHOOT) CameraFile.address(this) else data?.data ?: return
        show()
    }

    private fun say(text: String) {
        findViewById<TextView>(R.id.status).text = text
    }

    private fun show() {
        val source = photo ?: return
        val artifact = description.artifacts[findViewById<Spinner>(R.id.artifact).selectedItemPosition]
        val question = ++asked
        say("Looking at the photo.")
        worker.execute {
            try {
                val bitmap = decode(source)
                val answer = classify(bitmap, artifact)
                runOnUiThread { if (question == asked) draw(bitmap, artifact, answer) }
            } catch (error: IOException) {
                runOnUiThread { if (question == asked) say("That file cannot be read as a photo.") }
            } catch (error: OutOfMemoryError) {
                runOnUiThread { if (question == asked) say("That photo is too large for this device.") }
            } catch (error: Exception) {
                runOnUiThread { if (question == asked) say(error.message ?: error.toString()) }
            }
        }
    }

    /** Decodes a photo: upright, colors as stored, transparency left out. */
    private fun decode(source: Uri): Bitmap {
        val bitmap = ImageDecoder.decodeBitmap(ImageDecoder.createSource(contentResolver, source)) { decoder, info, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.isUnpremultipliedRequired = true
            if (info.size.width.toLong() * info.size.height > MOST_PIXELS) decoder.setTargetSampleSize(2)
        }
        return if (bitmap.config == Bitmap.Config.ARGB_8888) bitmap else bitmap.copy(Bitmap.Config.ARGB_8888, false)
    }

    private fun classify(bitmap: Bitmap, artifact: Artifact): Answer {
        val started = System.nanoTime()
        val input = prepare(pixels(bitmap), description.reading)
        val prepared = System.nanoTime()
        val network = network(artifact, input)
        val ready = System.nanoTime()
        val output = network.run(input)
        val done = System.nanoTime()
        val shares = probabilities(output, description.scores)
        val guesses = best(shares, SHOWN).map { description.label(it) to shares[it] }
        return Answer(guesses, (prepared - started) / 1e6, (done - ready) / 1e6)
    }

    private fun network(artifact: Artifact, input: FloatArray): Network {
        loaded?.let { (known, network) -> if (known === artifact) return network else network.close() }
        loaded = null
        val network = Network(assets, artifact)
        loaded = artifact to network
        network.run(input) // the first run is slower
        return network
    }

    private fun pixels(bitmap: Bitmap): Image {
        val rgba = ByteBuffer.allocate(bitmap.byteCount)
        bitmap.copyPixelsToBuffer(rgba)
        val from = rgba.array()
        val row = bitmap.rowBytes
        val data = ByteArray(bitmap.width * bitmap.height * 3)
        var to = 0
        for (y in 0 until bitmap.height) {
            for (x in 0 until bitmap.width) {
                for (channel in 0 until 3) data[to++] = from[y * row + 4 * x + channel]
            }
        }
        return Image(bitmap.width, bitmap.height, 3, data)
    }

    private fun draw(bitmap: Bitmap, artifact: Artifact, answer: Answer) {
        val scale = maxOf(bitmap.width, bitmap.height) / 1024 + 1 // the screen takes no photo of full size
        val preview = Bitmap.createScaledBitmap(bitmap, maxOf(1, bitmap.width / scale), maxOf(1, bitmap.height / scale), true)
        findViewById<ImageView>(R.id.photo).setImageBitmap(preview)
        val times = "prepared in %.0f ms, answered in %.1f ms".format(Locale.US, answer.prepared, answer.answered)
        say("${artifact.title}: $times.")
        val list = findViewById<LinearLayout>(R.id.guesses)
        list.removeAllViews()
        for ((name, share) in answer.guesses) {
            list.addView(TextView(this).apply { text = "$name   ${"%.1f".format(Locale.US, 100 * share)} %" })
            list.addView(ProgressBar(this, null, android.R.attr.progressBarStyleHorizontal).apply {
                max = BAR
                progress = (BAR * share).toInt()
                importantForAccessibility = View.IMPORTANT_FOR_ACCESSIBILITY_NO
            })
        }
    }
}
