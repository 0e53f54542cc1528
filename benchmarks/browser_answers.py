"""Photos through an export's page in Chromium, against the Keras model in Python: pixels, answers, milliseconds.

    python -m export --model squeezenet --web --quantize float16,dynamic,int8 --calibration-data PHOTOS.zip --output out
    python benchmarks/browser_answers.py out/squeezenet PHOTOS.zip

Both sides begin with the photo's file. PHOTOS: a folder or zip with folders named by WordNet id. The export is of a
variant with published weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from kerascnn.statistics import with_interval

# As a reader's photo goes: decoded by the browser, prepared by the page, answered by the artifact that is chosen.
CLASSIFY = """async ([text, artifact]) => {
    const { classify } = await import('./page.js');
    const { probabilities, input, prepared, answered } = await classify(new Blob([toBytes(text)]), artifact);
    return [toText(probabilities), toText(input), prepared, answered];
}"""


def main(folder: Path, photos: Path) -> None:
    import keras

    from export.images import find_images, labels_from_folders
    from export.web.browser import opened, to_numbers, to_text
    from kerascnn import factory
    from kerascnn.data import imagenet_classes
    from kerascnn.photos import images
    from kerascnn.photos.preprocessing import find_preprocessing

    manifest = json.loads((folder / "manifest.json").read_text())
    model = factory.create_model(manifest["model"]["name"], weights=manifest["weights"]["source"]["name"].split("/")[1])
    preprocessing = find_preprocessing(model)
    source = find_images(photos)
    truth = np.array(labels_from_folders(source.names, None, [wnid for wnid, _ in imagenet_classes()], 1000))
    artifacts = json.loads((folder / "web" / "model.json").read_text())["artifacts"]
    std = np.asarray(preprocessing.std)

    answers, answered, prepared, pixels, inputs = [[] for _ in artifacts], [[] for _ in artifacts], [], [], []
    with opened(folder / "web") as tab:
        for artifact, own, times in zip(artifacts, answers, answered, strict=True):  # loading one takes longest
            for name in source.names:
                content = source.open(name)
                probabilities, text, preparing, answering = tab.evaluate(CLASSIFY, [to_text(content), artifact])
                own.append(to_numbers(probabilities))
                times.append(answering)
                if artifact is artifacts[0]:
                    expected = preprocessing.load(images.decode(content))
                    given = to_numbers(text).reshape(expected.shape)
                    pixels.append(np.abs(given - expected) * std)
                    inputs.append(expected)
                    prepared.append(preparing)
        version, said, asked = tab.version, tab.said, tab.asked
    reference = keras.ops.convert_to_numpy(model.predict(np.stack(inputs), batch_size=10, verbose=0))

    levels = np.array([one.max() for one in pixels])
    print(f"{len(inputs)} photos, Chromium {version}; on the console: {said}; asked of others: {asked}")
    print(
        f"prepared pixels: differ by at most {levels.max():.3f} of 255, in {(levels > 0.5).sum()} photos at all; "
        f"{np.median(prepared):.1f} ms a photo (median)\n"
    )
    print("| artifact | largest difference of a probability | same best class | top-1 (95 % interval) | top-5 | ms |")
    print("|---|---:|---:|---:|---:|---:|")
    rows = [("Keras", reference, [])]
    rows += [
        (row["title"], np.float32(own), times) for row, own, times in zip(artifacts, answers, answered, strict=True)
    ]
    for title, own, times in rows:
        order = np.argsort(-own, axis=1, kind="stable")
        top1, top5 = (float(np.mean((order[:, :k] == truth[:, None]).any(axis=1))) for k in (1, 5))
        same = int((order[:, 0] == reference.argmax(axis=1)).sum())
        largest = f"{np.abs(own - reference).max():.1e}"
        cells = [title, largest, f"{same} of {len(own)}", *(with_interval(top, len(own)) for top in (top1, top5))]
        print(f"| {' | '.join(cells)} | {f'{np.median(times):.1f}' if times else ''} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
