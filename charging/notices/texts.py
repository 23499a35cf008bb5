"""What notices say, by language and kind, in the form of an operator's own template: the subject, an empty line, the text.

An operator replaces any of them by a file of that name (docs/notices.md). Every language has every kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Texts = Mapping[str, Mapping[str, str]]
"""Language → kind → template."""

_EN: Final[dict[str, str]] = {
    "threshold": """\
{{ left }} of {{ bucket }} left

Hello {{ username }},

of your {{ granted }} ({{ bucket }}) there is {{ left }} left.
""",
    "exhausted": """\
{% if action == "maximum" %}Your session has ended{% else %}Your balance is used up{% endif %}

Hello {{ username }},

{% if action == "maximum" %}this session has cost as much as one may cost, and has ended. You may begin another one.
{%- else %}your balance is used up.{% endif %}
{%- if action == "throttle" %} Your line goes on at a lower speed until you top up.
{%- elif action == "redirect" %} Open any page to see how to top up.
{%- elif action != "maximum" %} Your line is closed until you top up.
{%- endif %}
""",
    "capped": """\
You have used what your plan allows

Hello {{ username }},

you have used what {{ plan or "your plan" }} allows ({{ cap }}).
{%- if action == "disconnect" %} Your line is closed{% else %} Your line goes on with a limited service{% endif %}
{%- if until %} until {{ until }}{% endif %}.
""",
    "restored": """\
Your full service is back

Hello {{ username }},

your line has its full service again. Thank you.
""",
    "renewed": """\
Your plan was renewed

Hello {{ username }},

a new period of {{ plan or "your plan" }} has begun
{%- if price %}; {{ price }} were taken from your balance{% endif %}.
{%- if renews %} The next one begins on {{ renews }}.{% endif %}
""",
    "renewal-soon": """\
Your plan is renewed on {{ renews }}

Hello {{ username }},

{{ plan or "your plan" }} is renewed on {{ renews }}
{%- if price %} for {{ price }}; please see to it that your balance has as much{% endif %}.
""",
    "renewal-failed": """\
Your plan could not be renewed

Hello {{ username }},

your balance does not pay for another period of {{ plan or "your plan" }}
{%- if price %} ({{ price }}){% endif %}.
{%- if missing %} Please top up at least {{ missing }}.{% else %} Please top up.{% endif %}
""",
    "expiry-soon": """\
{{ bucket or "Your service" }} ends on {{ expires }}

Hello {{ username }},

{% if bucket %}{{ left }} of {{ bucket }} can be used until {{ expires }}.
{%- else %}your service ends on {{ expires }}.{% endif %}
""",
    "expired": """\
{{ bucket or "Your service" }} has ended

Hello {{ username }},

{% if bucket %}{{ bucket }} ended on {{ expires }}{% if left %}; {{ left }} of it were not used{% endif %}.
{%- else %}your service ended on {{ expires }}.{% endif %}
""",
    "fair-use": """\
The speed of your line has changed

Hello {{ username }},

by the fair-use rules of {{ plan or "your plan" }} your line now has the profile {{ profile }}.
""",
    "voucher-used": """\
Your voucher was paid in

Hello {{ username }},

your voucher put {{ amount }} on your account. Thank you.
""",
    "enforcement-failed": """\
A NAS does not obey: {{ account }}

A session of {{ username }} (account {{ account }}) goes on against our orders: {{ reason or detail }}.
Look at it: aaa explain {{ account }}
""",
    "test": """\
A test of your provider's notices

Hello {{ username }},

this is a test: notices about your line reach you here.
""",
}

_DE: Final[dict[str, str]] = {
    "threshold": """\
Noch {{ left }} von {{ bucket }}

Guten Tag {{ username }},

von Ihren {{ granted }} ({{ bucket }}) sind noch {{ left }} übrig.
""",
    "exhausted": """\
{% if action == "maximum" %}Ihre Sitzung ist beendet{% else %}Ihr Guthaben ist aufgebraucht{% endif %}

Guten Tag {{ username }},

{% if action == "maximum" %}diese Sitzung hat so viel gekostet, wie eine kosten darf, und ist beendet. Sie können eine neue beginnen.
{%- else %}Ihr Guthaben ist aufgebraucht.{% endif %}
{%- if action == "throttle" %} Ihr Anschluss läuft mit geringerer Geschwindigkeit weiter, bis Sie aufladen.
{%- elif action == "redirect" %} Öffnen Sie irgendeine Seite, um zu sehen, wie Sie aufladen.
{%- elif action != "maximum" %} Ihr Anschluss ist gesperrt, bis Sie aufladen.
{%- endif %}
""",
    "capped": """\
Sie haben verbraucht, was Ihr Tarif zulässt

Guten Tag {{ username }},

Sie haben verbraucht, was {{ plan or "Ihr Tarif" }} zulässt ({{ cap }}).
{%- if action == "disconnect" %} Ihr Anschluss ist gesperrt{% else %} Ihr Anschluss läuft eingeschränkt weiter{% endif %}
{%- if until %} bis {{ until }}{% endif %}.
""",
    "restored": """\
Ihr Anschluss ist wieder frei

Guten Tag {{ username }},

Ihr Anschluss hat wieder seine volle Leistung. Vielen Dank.
""",
    "renewed": """\
Ihr Tarif wurde verlängert

Guten Tag {{ username }},

ein neuer Zeitraum von {{ plan or "Ihrem Tarif" }} hat begonnen
{%- if price %}; dafür wurden {{ price }} von Ihrem Guthaben abgebucht{% endif %}.
{%- if renews %} Der nächste beginnt am {{ renews }}.{% endif %}
""",
    "renewal-soon": """\
Ihr Tarif wird am {{ renews }} verlängert

Guten Tag {{ username }},

{{ plan or "Ihr Tarif" }} wird am {{ renews }} verlängert
{%- if price %} und kostet {{ price }}; bitte sorgen Sie für genügend Guthaben{% endif %}.
""",
    "renewal-failed": """\
Ihr Tarif konnte nicht verlängert werden

Guten Tag {{ username }},

Ihr Guthaben reicht nicht für einen weiteren Zeitraum von {{ plan or "Ihrem Tarif" }}
{%- if price %} ({{ price }}){% endif %}.
{%- if missing %} Bitte laden Sie mindestens {{ missing }} auf.{% else %} Bitte laden Sie auf.{% endif %}
""",
    "expiry-soon": """\
{{ bucket or "Ihr Anschluss" }} endet am {{ expires }}

Guten Tag {{ username }},

{% if bucket %}{{ left }} von {{ bucket }} können Sie noch bis {{ expires }} nutzen.
{%- else %}Ihr Anschluss endet am {{ expires }}.{% endif %}
""",
    "expired": """\
{{ bucket or "Ihr Anschluss" }} ist abgelaufen

Guten Tag {{ username }},

{% if bucket %}{{ bucket }} endete am {{ expires }}{% if left %}; {{ left }} davon blieben ungenutzt{% endif %}.
{%- else %}Ihr Anschluss endete am {{ expires }}.{% endif %}
""",
    "fair-use": """\
Die Geschwindigkeit Ihres Anschlusses hat sich geändert

Guten Tag {{ username }},

nach den Regeln von {{ plan or "Ihrem Tarif" }} hat Ihr Anschluss jetzt das Profil {{ profile }}.
""",
    "voucher-used": """\
Ihr Gutschein wurde eingelöst

Guten Tag {{ username }},

Ihr Gutschein hat Ihrem Konto {{ amount }} gutgeschrieben. Vielen Dank.
""",
    "enforcement-failed": """\
Ein NAS gehorcht nicht: {{ account }}

Eine Sitzung von {{ username }} (Konto {{ account }}) läuft gegen unsere Anweisung weiter: {{ reason or detail }}.
Nachsehen: aaa explain {{ account }}
""",
    "test": """\
Ein Test der Nachrichten Ihres Anbieters

Guten Tag {{ username }},

dies ist ein Test: Nachrichten zu Ihrem Anschluss erreichen Sie hier.
""",
}

_ES: Final[dict[str, str]] = {
    "threshold": """\
Quedan {{ left }} de {{ bucket }}

Hola {{ username }}:

de sus {{ granted }} ({{ bucket }}) quedan {{ left }}.
""",
    "exhausted": """\
{% if action == "maximum" %}Su sesión ha terminado{% else %}Su saldo se ha agotado{% endif %}

Hola {{ username }}:

{% if action == "maximum" %}esta sesión ha costado lo máximo que puede costar una y ha terminado. Puede empezar otra.
{%- else %}su saldo se ha agotado.{% endif %}
{%- if action == "throttle" %} Su línea sigue a menor velocidad hasta que recargue.
{%- elif action == "redirect" %} Abra cualquier página para ver cómo recargar.
{%- elif action != "maximum" %} Su línea queda cerrada hasta que recargue.
{%- endif %}
""",
    "capped": """\
Ha usado lo que su plan permite

Hola {{ username }}:

ha usado lo que permite {{ plan or "su plan" }} ({{ cap }}).
{%- if action == "disconnect" %} Su línea queda cerrada{% else %} Su línea sigue con un servicio limitado{% endif %}
{%- if until %} hasta el {{ until }}{% endif %}.
""",
    "restored": """\
Su servicio está completo de nuevo

Hola {{ username }}:

su línea vuelve a tener el servicio completo. Gracias.
""",
    "renewed": """\
Su plan se ha renovado

Hola {{ username }}:

ha empezado un nuevo período de {{ plan or "su plan" }}
{%- if price %}; se han tomado {{ price }} de su saldo{% endif %}.
{%- if renews %} El próximo empieza el {{ renews }}.{% endif %}
""",
    "renewal-soon": """\
Su plan se renueva el {{ renews }}

Hola {{ username }}:

{{ plan or "su plan" }} se renueva el {{ renews }}
{%- if price %} por {{ price }}; asegúrese de tener saldo suficiente{% endif %}.
""",
    "renewal-failed": """\
Su plan no se pudo renovar

Hola {{ username }}:

su saldo no alcanza para otro período de {{ plan or "su plan" }}
{%- if price %} ({{ price }}){% endif %}.
{%- if missing %} Recargue al menos {{ missing }}.{% else %} Recargue, por favor.{% endif %}
""",
    "expiry-soon": """\
{{ bucket or "Su servicio" }} termina el {{ expires }}

Hola {{ username }}:

{% if bucket %}{{ left }} de {{ bucket }} se pueden usar hasta el {{ expires }}.
{%- else %}su servicio termina el {{ expires }}.{% endif %}
""",
    "expired": """\
{{ bucket or "Su servicio" }} ha terminado

Hola {{ username }}:

{% if bucket %}{{ bucket }} terminó el {{ expires }}{% if left %}; {{ left }} quedaron sin usar{% endif %}.
{%- else %}su servicio terminó el {{ expires }}.{% endif %}
""",
    "fair-use": """\
La velocidad de su línea ha cambiado

Hola {{ username }}:

según las reglas de uso justo de {{ plan or "su plan" }}, su línea tiene ahora el perfil {{ profile }}.
""",
    "voucher-used": """\
Su vale se ha canjeado

Hola {{ username }}:

su vale ha añadido {{ amount }} a su cuenta. Gracias.
""",
    "enforcement-failed": """\
Un NAS no obedece: {{ account }}

Una sesión de {{ username }} (cuenta {{ account }}) sigue en contra de nuestras órdenes: {{ reason or detail }}.
Mírelo: aaa explain {{ account }}
""",
    "test": """\
Una prueba de los avisos de su proveedor

Hola {{ username }}:

esto es una prueba: los avisos sobre su línea le llegan aquí.
""",
}

SHIPPED: Final[Texts] = MappingProxyType({"en": _EN, "de": _DE, "es": _ES})
