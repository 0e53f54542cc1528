"""The files that TensorFlow Serving itself reads: their messages, their content, their rules, the server's flags."""
