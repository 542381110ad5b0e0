"""The retrieval backend of a chatbot over HTTP: `semsearch serve`, and `create_app` for other servers."""
