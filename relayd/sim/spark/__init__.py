"""A simulated iFlytek Spark: chat over WebSocket, signed, one request per socket, and its HTTP API.

Source: the vendor's pages Web.html, X1ws.html, X1http.html, HTTP调用文档.html, 接口说明.html and
general_url_authentication.html (xfyun.cn/doc/spark).
"""
