"""A server for the Model Context Protocol (MCP): indexes as tools and resources for assistants, over stdio or HTTP."""
