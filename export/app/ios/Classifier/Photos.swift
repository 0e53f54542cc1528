// From a photo to a network's input, with the numbers that Pillow and kerascnn.photos give. The system's own resizing
// gives others, so only decoding is left to it. Line by line this does what the Android app does.

import Foundation

private let precision = 22 // bits of Pillow's fixed-point weights for 8-bit images
private let bounded = 20 // sides of more than 1 to this are cut to it where only the middle is wanted

/// Pixels of 8 bits, row by row, the channels of a pixel side by side.
struct Pixels {
    let width: Int
    let height: Int
    let channels: Int
    var data: [UInt8]
}

/// How a photo becomes an input.
///
/// `resize` is a height and a width, or one number for the shorter side, or empty; `crop` a height and a width, or empty.
/// `mean` and `std` have one number for each channel, or one for all.
struct Reading: Decodable {
    let resize: [Int]
    let crop: [Int]
    let interpolation: String
    let channelOrder: String
    let mean: [Float]
    let std: [Float]
}

/// How a quantized tensor stores a number: (number - zeroPoint) * scale.
struct Step {
    let scale: Float
    let zeroPoint: Int
}

private struct Filter {
    let support: Double
    let weight: (Double) -> Double
}

private func filter(_ name: String) -> Filter {
    if name == "bilinear" {
        return Filter(support: 1, weight: { max(0, 1 - abs($0)) })
    }
    return Filter(support: 2, weight: { x in
        let a = -0.5
        let t = abs(x)
        if t < 1 { return ((a + 2) * t - (a + 3)) * t * t + 1 }
        if t < 2 { return (((t - 5) * t + 8) * t - 4) * a }
        return 0
    })
}

/// Turns a decoded photo of 3 channels into an input: height x width x channels.
func prepare(_ photo: Pixels, _ how: Reading) -> [Float] {
    var image = how.channelOrder == "gray" ? gray(photo) : photo
    if how.resize.count == 2 {
        image = resize(image, how.resize[1], how.resize[0], how.interpolation)
    } else if how.resize.count == 1 {
        if !how.crop.isEmpty { image = middle(image) }
        let short = min(image.width, image.height)
        let side = how.resize[0]
        image = resize(image, side * image.width / short, side * image.height / short, how.interpolation)
    }
    if how.crop.count == 2 {
        let height = how.crop[0]
        let width = how.crop[1]
        let left = roundHalf(Double(image.width - width) / 2)
        let top = roundHalf(Double(image.height - height) / 2)
        image = cut(image, left, top, width, height)
    }
    return normalize(image, how)
}

private func gray(_ photo: Pixels) -> Pixels {
    var values = [UInt8](repeating: 0, count: photo.width * photo.height)
    for i in 0..<values.count {
        let red = Int(photo.data[3 * i])
        let green = Int(photo.data[3 * i + 1])
        let blue = Int(photo.data[3 * i + 2])
        values[i] = UInt8((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)
    }
    return Pixels(width: photo.width, height: photo.height, channels: 1, data: values)
}

private func middle(_ image: Pixels) -> Pixels {
    let longest = bounded * min(image.width, image.height)
    if max(image.width, image.height) <= longest { return image }
    let width = min(image.width, longest)
    let height = min(image.height, longest)
    return cut(image, (image.width - width) / 2, (image.height - height) / 2, width, height)
}

/// Takes a part of an image; what lies outside of it is black.
private func cut(_ image: Pixels, _ left: Int, _ top: Int, _ width: Int, _ height: Int) -> Pixels {
    let channels = image.channels
    var data = [UInt8](repeating: 0, count: width * height * channels)
    let first = max(0, left)
    let last = min(image.width, left + width)
    let start = max(0, top)
    let end = min(image.height, top + height)
    if first < last && start < end {
        for y in start..<end {
            let from = (y * image.width + first) * channels
            let to = ((y - top) * width + first - left) * channels
            for k in 0..<(last - first) * channels { data[to + k] = image.data[from + k] }
        }
    }
    return Pixels(width: width, height: height, channels: channels, data: data)
}

/// Rounds as Python does: halves to the even number.
private func roundHalf(_ x: Double) -> Int {
    return Int(x.rounded(.toNearestOrEven))
}

/// Resizes as Pillow does.
func resize(_ image: Pixels, _ width: Int, _ height: Int, _ interpolation: String) -> Pixels {
    if width == image.width && height == image.height { return image }
    if interpolation == "nearest" { return nearest(image, width, height) }
    let chosen = filter(interpolation)
    // Pillow 13 takes the vertical pass first where that makes the other one much shorter; this decides how it is rounded.
    let lost = image.height - height
    if lost > 0 && lost > 2 * (image.width - width) { return across(down(image, height, chosen), width, chosen) }
    return down(across(image, width, chosen), height, chosen)
}

private func across(_ image: Pixels, _ width: Int, _ filter: Filter) -> Pixels {
    if width == image.width { return image }
    let channels = image.channels
    var data = [UInt8](repeating: 0, count: width * image.height * channels)
    let along = weights(image.width, width, filter)
    for y in 0..<image.height {
        pass(image.data, y * image.width * channels, channels, &data, y * width * channels, channels, channels, along)
    }
    return Pixels(width: width, height: image.height, channels: channels, data: data)
}

private func down(_ image: Pixels, _ height: Int, _ filter: Filter) -> Pixels {
    if height == image.height { return image }
    let row = image.width * image.channels
    var data = [UInt8](repeating: 0, count: height * row)
    let along = weights(image.height, height, filter)
    for x in 0..<row {
        pass(image.data, x, row, &data, x, row, 1, along)
    }
    return Pixels(width: image.width, height: height, channels: image.channels, data: data)
}

/// The first source pixel of a pixel, and the weights of those from there on.
private struct Weights {
    let first: Int
    let fixed: [Int32]
}

private func weights(_ size: Int, _ wanted: Int, _ filter: Filter) -> [Weights] {
    let scale = Double(size) / Double(wanted)
    let stretch = max(scale, 1)
    let support = filter.support * stretch
    return (0..<wanted).map { place in
        let center = (Double(place) + 0.5) * scale
        let first = max(0, Int(center - support + 0.5))
        let end = min(size, Int(center + support + 0.5))
        let raw = (first..<end).map { filter.weight((Double($0) - center + 0.5) * (1 / stretch)) }
        let sum = raw.reduce(0, +)
        let fixed = raw.map { weight in
            let share = (sum == 0 ? weight : weight / sum) * Double(1 << precision)
            return Int32(share < 0 ? share - 0.5 : share + 0.5)
        }
        return Weights(first: first, fixed: fixed)
    }
}

/// Resizes one line of pixels, which lie `step` apart.
private func pass(
    _ source: [UInt8], _ from: Int, _ step: Int, _ target: inout [UInt8], _ to: Int, _ targetStep: Int, _ channels: Int,
    _ along: [Weights]
) {
    var next = to
    for pixel in along {
        for channel in 0..<channels {
            var sum: Int32 = 1 << Int32(precision - 1)
            var at = from + pixel.first * step + channel
            for weight in pixel.fixed {
                sum += Int32(source[at]) * weight
                at += step
            }
            target[next + channel] = UInt8(min(255, max(0, sum >> Int32(precision))))
        }
        next += targetStep
    }
}

private func nearest(_ image: Pixels, _ width: Int, _ height: Int) -> Pixels {
    let channels = image.channels
    var data = [UInt8]()
    data.reserveCapacity(width * height * channels)
    let columns = places(image.width, width)
    for y in places(image.height, height) {
        for x in columns {
            let from = (y * image.width + x) * channels
            for channel in 0..<channels { data.append(image.data[from + channel]) }
        }
    }
    return Pixels(width: width, height: height, channels: channels, data: data)
}

/// Pillow adds the steps up, and what it loses by rounding decides where two pixels are equally near.
private func places(_ size: Int, _ wanted: Int) -> [Int] {
    let scale = Double(size) / Double(wanted)
    var at = scale * 0.5
    return (0..<wanted).map { _ in
        let place = min(size - 1, Int(at))
        at += scale
        return place
    }
}

/// Brings pixels to channel order, mean and scale, in float32 arithmetic as NumPy does.
private func normalize(_ image: Pixels, _ how: Reading) -> [Float] {
    let channels = image.channels
    return (0..<image.data.count).map { index in
        let k = index % channels
        let from = how.channelOrder == "bgr" ? index - k + channels - 1 - k : index
        let mean = how.mean[how.mean.count == 1 ? 0 : k]
        let std = how.std[how.std.count == 1 ? 0 : k]
        return (Float(image.data[from]) - mean) / std
    }
}

/// Turns pixels upright; `orientation` is that of EXIF, 1 to 8.
func upright(_ image: Pixels, _ orientation: Int) -> Pixels {
    if orientation < 2 || orientation > 8 { return image }
    let turned = orientation > 4
    let width = turned ? image.height : image.width
    let height = turned ? image.width : image.height
    var data = [UInt8]()
    data.reserveCapacity(image.data.count)
    for y in 0..<height {
        for x in 0..<width {
            let (right, bottom) = (width - 1 - x, height - 1 - y)
            let column: Int, row: Int
            switch orientation {
            case 2: (column, row) = (right, y)
            case 3: (column, row) = (right, bottom)
            case 4: (column, row) = (x, bottom)
            case 5: (column, row) = (y, x)
            case 6: (column, row) = (y, right)
            case 7: (column, row) = (bottom, right)
            default: (column, row) = (bottom, x)
            }
            let from = (row * image.width + column) * image.channels
            for channel in 0..<image.channels { data.append(image.data[from + channel]) }
        }
    }
    return Pixels(width: width, height: height, channels: image.channels, data: data)
}

/// Writes numbers as a quantized input takes them.
func quantize(_ values: [Float], _ step: Step) -> [Int8] {
    return values.map { value in
        let number = (value / step.scale).rounded(.toNearestOrEven) + Float(step.zeroPoint)
        return Int8(min(127, max(-128, number)))
    }
}

/// Reads the numbers of a quantized output.
func dequantize(_ values: [Int8], _ step: Step) -> [Float] {
    return values.map { Float(Int($0) - step.zeroPoint) * step.scale }
}

/// Gives probabilities: what the network gives, or the softmax of its scores.
func probabilities(_ output: [Float], _ scores: Bool) -> [Float] {
    if !scores && output.allSatisfy({ $0 >= 0 && $0 <= 1 }) { return output }
    let most = output.max() ?? 0
    let powers = output.map { exp($0 - most) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
}

/// Gives the numbers of the most probable classes, the best one first.
func best(_ probabilities: [Float], _ count: Int) -> [Int] {
    let order = probabilities.indices.sorted {
        probabilities[$0] == probabilities[$1] ? $0 < $1 : probabilities[$0] > probabilities[$1]
    }
    return Array(order.prefix(count))
}
