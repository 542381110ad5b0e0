"""The Model Context Protocol: an index as tools and resources of somebody's assistant, over stdio or HTTP."""
