"""Bridges to other libraries, one module each. A module imports its library; `import jflows` imports none of them."""
