"""Documents -> pictures, pages in a browser (plan, export and proof; sliders that ask again), a notebook's cell."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.pages.explorer import Explorer as Explorer
    from vlmplan.pages.explorer import Offer as Offer
    from vlmplan.pages.html_page import Dossier as Dossier
    from vlmplan.pages.html_page import page as page
    from vlmplan.pages.loopback import Loopback as Loopback
    from vlmplan.pages.missed import failures_page as failures_page
    from vlmplan.pages.notebook import html_of as html_of
    from vlmplan.pages.plots import check_picture as check_picture
    from vlmplan.pages.plots import plot_front as plot_front
    from vlmplan.pages.plots import plot_law as plot_law

__getattr__, __all__ = face(
    __name__,
    {
        "explorer": ("Explorer", "Offer"),
        "html_page": ("Dossier", "page"),
        "loopback": ("Loopback",),
        "missed": ("failures_page",),
        "notebook": ("html_of",),
        "plots": ("check_picture", "plot_front", "plot_law"),
    },
)
