import Foundation
import ImageIO
import TensorFlowLite

/// One .tflite file of the export; `input` and `output` hold scale and zero point, and are missing where it is float32.
struct Artifact: Decodable, Hashable {
    let path: String
    let title: String
    let input: [Float]?
    let output: [Float]?
}

/// What model.json says of the network.
struct Description: Decodable {
    let name: String
    let labels: [String]?
    let scores: Bool
    let reading: Reading
    let artifacts: [Artifact]

    static func load() throws -> Description {
        guard let url = Bundle.main.url(forResource: "model", withExtension: "json", subdirectory: "Model") else {
            throw Problem("The app holds no model.json.")
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Description.self, from: Data(contentsOf: url))
    }

    func label(_ number: Int) -> String {
        return labels?[number] ?? "class \(number)"
    }
}

/// What went wrong, in words.
struct Problem: LocalizedError {
    let errorDescription: String?

    init(_ text: String) {
        errorDescription = text
    }
}

/// What became of a photo.
struct Answer {
    let guesses: [(name: String, share: Float)]
    let prepared: Double
    let answered: Double
}

/// Answers photos, one after another; it keeps the file that answered last.
actor Network {
    private let description: Description
    private var loaded: (artifact: Artifact, interpreter: Interpreter)?

    init(_ description: Description) {
        self.description = description
    }

    func classify(_ photo: Data, with artifact: Artifact) throws -> Answer {
        let started = Date()
        let input = try prepare(decode(photo), description.reading)
        let prepared = Date()
        let interpreter = try opened(artifact, input)
        let ready = Date()
        let output = try run(interpreter, artifact, input)
        let done = Date()
        let shares = probabilities(output, description.scores)
        let guesses = best(shares, 5).map { (name: description.label($0), share: shares[$0]) }
        return Answer(
            guesses: guesses,
            prepared: prepared.timeIntervalSince(started) * 1000,
            answered: done.timeIntervalSince(ready) * 1000
        )
    }

    private func opened(_ artifact: Artifact, _ input: [Float]) throws -> Interpreter {
        if let loaded, loaded.artifact == artifact { return loaded.interpreter }
        loaded = nil
        guard let path = Bundle.main.path(forResource: artifact.path, ofType: nil, inDirectory: "Model") else {
            throw Problem("The app holds no \(artifact.path).")
        }
        let interpreter = try Interpreter(modelPath: path)
        try interpreter.allocateTensors()
        _ = try run(interpreter, artifact, input) // the first run is slower
        loaded = (artifact, interpreter)
        return interpreter
    }

    private func run(_ interpreter: Interpreter, _ artifact: Artifact, _ input: [Float]) throws -> [Float] {
        if let step = quantization(artifact.input) {
            try interpreter.copy(quantize(input, step).withUnsafeBytes { Data($0) }, toInputAt: 0)
        } else {
            try interpreter.copy(input.withUnsafeBytes { Data($0) }, toInputAt: 0)
        }
        try interpreter.invoke()
        let output = try interpreter.output(at: 0).data
        if let step = quantization(artifact.output) {
            return dequantize(output.withUnsafeBytes { Array($0.bindMemory(to: Int8.self)) }, step)
        }
        return output.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }

    private func quantization(_ numbers: [Float]?) -> Step? {
        return numbers.map { Step(scale: $0[0], zeroPoint: Int($0[1])) }
    }
}

/// Decodes a photo: upright, colors as stored. Transparent parts come out darker.
func decode(_ photo: Data) throws -> Pixels {
    guard let source = CGImageSourceCreateWithData(photo as CFData, nil),
        let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
    else {
        throw Problem("That file cannot be read as a photo.")
    }
    let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
    let orientation = properties?[kCGImagePropertyOrientation] as? Int ?? 1
    // Drawn in its own color space, a photo keeps its numbers.
    let own = image.colorSpace.flatMap { $0.model == .rgb && $0.supportsOutput ? $0 : nil }
    let (width, height) = (image.width, image.height)
    var rgba = [UInt8](repeating: 0, count: width * height * 4)
    let drawn = rgba.withUnsafeMutableBytes { bytes -> Bool in
        guard let context = CGContext(
            data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width * 4,
            space: own ?? CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue
        ) else { return false }
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        return true
    }
    if !drawn { throw Problem("That photo is too large for this device, or of a kind that it cannot draw.") }
    var data = [UInt8](repeating: 0, count: width * height * 3)
    for i in 0..<width * height {
        for channel in 0..<3 { data[3 * i + channel] = rgba[4 * i + channel] }
    }
    return upright(Pixels(width: width, height: height, channels: 3, data: data), orientation)
}
