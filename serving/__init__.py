"""Serve exported models with TensorFlow Serving.

`contract` names what an export writes for a server; `configuration` writes and checks what a server reads; `client`
asks a server; `development` is a server that needs no container engine; `operations` checks models, adds versions,
moves labels and measures load; `commands` is the command line of them all.
"""
