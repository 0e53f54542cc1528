import PhotosUI
import SwiftUI
import UIKit

@main
struct ClassifierApp: App {
    var body: some Scene {
        WindowGroup {
            switch Result(catching: Description.load) {
            case .success(let description): ContentView(description)
            case .failure(let error): Text(error.localizedDescription)
            }
        }
    }
}

/// A photo comes in, an answer goes out.
struct ContentView: View {
    private let description: Description
    private let network: Network
    @State private var artifact: Artifact
    @State private var chosen: PhotosPickerItem?
    @State private var photo: Data?
    @State private var answer: Answer?
    @State private var status = "Choose a photo."
    @State private var isShooting = false

    init(_ description: Description) {
        self.description = description
        network = Network(description)
        _artifact = State(initialValue: description.artifacts[0])
    }

    var body: some View {
        NavigationStack {
            List {
                if let photo, let image = UIImage(data: photo) {
                    Image(uiImage: image).resizable().scaledToFit().frame(maxHeight: 280).accessibilityLabel("The photo")
                }
                PhotosPicker("Choose a photo", selection: $chosen, matching: .images)
                if UIImagePickerController.isSourceTypeAvailable(.camera) {
                    Button("Use the camera") { isShooting = true }
                }
                Picker("File", selection: $artifact) {
                    ForEach(description.artifacts, id: \.self) { Text($0.title) }
                }
                Text(status)
                if let answer {
                    ForEach(answer.guesses.indices, id: \.self) { number in
                        let guess = answer.guesses[number]
                        VStack(alignment: .leading) {
                            HStack {
                                Text(guess.name)
                                Spacer()
                                Text(String(format: "%.1f %%", 100 * guess.share)).monospacedDigit()
                            }
                            ProgressView(value: min(1, max(0, guess.share))).accessibilityHidden(true)
                        }
                    }
                }
            }
            .navigationTitle(description.name)
        }
        .onChange(of: chosen) { item in
            Task { photo = try? await item?.loadTransferable(type: Data.self) }
        }
        .task(id: Question(photo: photo, artifact: artifact)) { await show() }
        .fullScreenCover(isPresented: $isShooting) {
            Camera { photo = $0 }.ignoresSafeArea()
        }
    }

    private func show() async {
        guard let photo else { return }
        status = "Looking at the photo."
        do {
            let found = try await network.classify(photo, with: artifact)
            if Task.isCancelled { return }
            answer = found
            let times = String(format: "prepared in %.0f ms, answered in %.1f ms", found.prepared, found.answered)
            status = "\(artifact.title): \(times)."
        } catch {
            if Task.isCancelled { return }
            answer = nil
            status = error.localizedDescription
        }
    }
}

/// What is asked; a newer question makes an older one void.
private struct Question: Equatable {
    let photo: Data?
    let artifact: Artifact
}

/// The system's camera, which hands over a JPEG file of full size.
struct Camera: UIViewControllerRepresentable {
    let done: (Data?) -> Void
    @Environment(\.dismiss) private var dismiss

    func makeUIViewController(context: Context) -> UIImagePickerController {
        let picker = UIImagePickerController()
        picker.sourceType = .camera
        picker.delegate = context.coordinator
        return picker
    }

    func updateUIViewController(_ picker: UIImagePickerController, context: Context) {}

    func makeCoordinator() -> Coordinator {
        return Coordinator(self)
    }

    final class Coordinator: NSObject, UIImagePickerControllerDelegate, UINavigationControllerDelegate {
        private let camera: Camera

        init(_ camera: Camera) {
            self.camera = camera
        }

        func imagePickerController(
            _ picker: UIImagePickerController, didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
        ) {
            camera.done((info[.originalImage] as? UIImage)?.jpegData(compressionQuality: 0.95))
            camera.dismiss()
        }

        func imagePickerControllerDidCancel(_ picker: UIImagePickerController) {
            camera.dismiss()
        }
    }
}
