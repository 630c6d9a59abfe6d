"""Telephone numbers nobody has: valid by their form, and set aside for fiction (exchange 555, lines 01xx)."""

from __future__ import annotations

from collections.abc import Callable

_US_AREA_CODES = """
    201 202 203 205 206 207 208 209 210 212 213 214 215 216 217 218 219 220 223 224 225 228 229 231 234
    239 240 248 251 252 253 254 256 260 262 267 269 270 272 276 281 301 302 303 304 305 307 308 309 310
    312 313 314 315 316 317 318 319 320 321 323 325 330 331 332 334 336 337 339 346 347 351 352 360 361
    364 380 385 386 401 402 404 405 406 407 408 409 410 412 413 414 415 417 419 423 424 425 430 432 434
    435 440 442 443 458 463 469 470 475 478 479 480 484 501 502 503 504 505 507 508 509 510 512 513 515
    516 517 518 520 530 531 534 539 540 541 551 559 561 562 563 567 570 571 573 574 575 580 585 586 601
    602 603 605 606 607 608 609 610 612 614 615 616 617 618 619 620 623 626 628 629 630 631 636 641 646
    650 651 657 660 661 662 667 669 678 681 682 701 702 703 704 706 707 708 712 713 714 715 716 717 718
    719 720 724 725 727 731 732 734 737 740 747 754 757 760 762 763 765 769 770 772 773 774 775 779 781
    785 786 801 802 803 804 805 806 808 810 812 813 814 815 816 817 818 828 830 831 832 843 845 847 848
    850 856 857 858 859 860 862 863 864 865 870 872 878 901 903 904 906 907 908 909 910 912 913 914 915
    916 917 918 919 920 925 928 929 931 936 937 938 940 941 947 949 951 952 954 956 959 970 971 972 973
    978 979 980 984 985 989
"""
US_AREA_CODES = tuple(_US_AREA_CODES.split())
_CA_AREA_CODES = """
    204 226 236 250 289 306 343 403 416 418 438 450 506 514 519 581 587 604 613 647 705 709 778 780 867
"""
CA_AREA_CODES = tuple(_CA_AREA_CODES.split())
#: How many US numbers the fiction range has; asked for more, the rest of exchange 555 follows.
US_FICTION = len(US_AREA_CODES) * 100


def _nanp(area_codes: tuple[str, ...], index: int) -> str:
    round_number, position = divmod(index, len(area_codes))
    line = 100 + round_number if round_number < 100 else round_number + 100
    return f"+1{area_codes[position]}555{line % 10_000:04d}"


def us_number(index: int) -> str:
    """The index-th US number, in E.164; distinct for some 3 million."""
    return _nanp(US_AREA_CODES, index)


def ca_number(index: int) -> str:
    """The index-th Canadian number, in E.164."""
    return _nanp(CA_AREA_CODES, index)


#: How people write a number of ten digits a, b, c (area, exchange, line).
NANP_STYLES: tuple[Callable[[str, str, str], str], ...] = (
    lambda a, b, c: f"({a}) {b}-{c}",
    lambda a, b, c: f"{a}-{b}-{c}",
    lambda a, b, c: f"{a}.{b}.{c}",
    lambda a, b, c: f"{a} {b} {c}",
    lambda a, b, c: f"{a}{b}{c}",
    lambda a, b, c: f"+1 {a} {b} {c}",
    lambda a, b, c: f"+1{a}{b}{c}",
    lambda a, b, c: f"1-{a}-{b}-{c}",
    lambda a, b, c: f"+1 ({a}) {b}-{c}",
    lambda a, b, c: f"  {a}-{b}-{c} ",
    lambda a, b, c: f"{a}\u00a0{b}\u00a0{c}",
    lambda a, b, c: f"({a})\u3000{b}\u2011{c}",
    lambda a, b, c: f"({a}) {b}-{c} ext. 12",
    lambda a, b, c: f"{a}-{b}-{c} x7",
    lambda a, b, c: f"tel:+1-{a}-{b}-{c}",
)

#: Numbers abroad: in E.164 with `n` for a counter of two digits, as written there, and the country's names.
ABROAD = (
    ("+44740012{n}56", "07400 12{n}56", ("United Kingdom", "GB", "UK", "Great Britain")),
    ("+49171392{n}12", "0171 392{n}12", ("Germany", "Deutschland", "DE")),
    ("+5255555501{n}", "55 5555 01{n}", ("Mexico", "México", "MX")),
)
JUNK = (
    "n/a",
    "555",
    "call me",
    "000-000-0000",
    "123",
    "none",
    "-",
    "(202) 555",
    "+1 555 0100",
    "see notes",
    "911",
)
