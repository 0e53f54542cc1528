"""Projects of apps for phones around an export: Android in Kotlin, iOS in Swift."""
