"""The dashboard: one shell for every address, and the assets that it loads.

`static/` has plain HTML, CSS and JavaScript modules, served as they are: there is no build step. `static/main.js`
chooses the view by the address. `assets` reads them once, and `shell` fills in what the server knows.
"""
