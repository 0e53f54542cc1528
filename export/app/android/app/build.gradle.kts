plugins {
    id("com.android.application")
}

android {
    namespace = "kerascnn.app"
    compileSdk = 36

    defaultConfig {
        applicationId = "{{id}}"
        minSdk = 29
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    androidResources {
        noCompress += "tflite" // it is mapped into memory as it lies there
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:{{runtime}}")
}
