"""The same sections as Markdown and as HTML. Nothing here decides what is shown."""
