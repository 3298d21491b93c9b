"""What browsers are told with every page, beside what Django's own middleware tells."""

# Rollcall uses none of these. Passkeys are not among them: pages of this site may use
# them by default. (Browsers complain of names that they do not know.)
UNUSED_FEATURES = (
    *("accelerometer", "camera", "display-capture", "geolocation"),
    *("gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "serial"),
    "usb",
)
HEADERS = {
    "Permissions-Policy": ", ".join(f"{name}=()" for name in UNUSED_FEATURES),
    "Cross-Origin-Resource-Policy": "same-origin",
}


def page_headers(get_response):
    """No page is kept, a stranger's neither: each has a token of its own in its forms,
    and after signing out the way back must not show what stood there."""

    def middleware(request):
        response = get_response(request)
        response["Cache-Control"] = "no-store"
        for name, value in HEADERS.items():
            response.setdefault(name, value)
        return response

    return middleware
