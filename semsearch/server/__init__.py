"""HTTP retrieval backend for chatbots: `semsearch serve` runs it, and `create_app` builds it for any ASGI server."""
