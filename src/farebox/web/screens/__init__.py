"""The screens of the page, one module each: what is read, what a form does, which template shows it."""
