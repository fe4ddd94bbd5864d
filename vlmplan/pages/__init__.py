"""Documents -> pictures, pages in a browser (plan, export and proof; sliders that ask again), a notebook's cell."""

from typing import TYPE_CHECKING

from vlmplan.lazy import face

if TYPE_CHECKING:
    from vlmplan.pages.explorer import Explorer as Explorer, Offer as Offer
    from vlmplan.pages.html_page import Dossier as Dossier, page as page
    from vlmplan.pages.loopback import Loopback as Loopback
    from vlmplan.pages.notebook import html_of as html_of

__getattr__, __all__ = face(
    __name__,
    {
        'explorer': ('Explorer', 'Offer'),
        'html_page': ('Dossier', 'page'),
        'loopback': ('Loopback',),
        'notebook': ('html_of',),
    },
)
