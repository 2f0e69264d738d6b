"""A simulated text model that is asked by tasks over a WebSocket: run-task to task-finished.

Source: the WebSocket API of Alibaba Cloud Model Studio and its client, dashscope-sdk-python; for
input, output and error codes of text generation the pages of its HTTP API.
"""
