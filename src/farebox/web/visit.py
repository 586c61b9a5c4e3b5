"""One request of the page: who asks, in which language, about which account."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import BaseModel, ValidationError

from farebox.admin.models import Nothing
from farebox.admin.numbers import Number, number_in_use, shown_numbers
from farebox.admin.problems import invalid
from farebox.admin.routing import Admin, Ask
from farebox.gate import Gate
from farebox.web.render import page
from farebox.web.tongue import LANGUAGES, Tongue
from farebox.web.users import Person, Role

ModelT = TypeVar("ModelT", bound=BaseModel)

ACCOUNT_COOKIE = "farebox_account"
MAX_ACCOUNTS = 500  # of the list that one chooses from
MAX_NUMBERS = 200  # of an account, on one screen; each is a look into its wallet


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the page's head names it."""

    account_id: str
    name: str
    currency: str
    numbers: int


@dataclass
class Visit:
    """A request and what every screen needs."""

    request: web.Request
    admin: Admin
    tongue: Tongue
    person: Person | None
    csrf: str = ""
    form: Mapping[str, str] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    sandbox: bool = False

    @property
    def gate(self) -> Gate:
        """Return the worker's parts."""
        return self.admin.gate

    @property
    def now(self) -> datetime:
        """The one clock's time."""
        return datetime.fromtimestamp(self.gate.clock.now_ms() / 1000, UTC)

    @property
    def query(self) -> Mapping[str, str]:
        """The query of the address."""
        return self.request.query

    @property
    def account(self) -> Account | None:
        """The account that is looked at: as the address or the last choice says, else the first; None without one."""
        asked = self.query.get("account") or self.request.cookies.get(ACCOUNT_COOKIE)
        return next((one for one in self.accounts if one.account_id == asked), next(iter(self.accounts), None))

    def may(self, role: Role) -> bool:
        """Tell whether the person has at least this role."""
        return self.person is not None and self.person.role >= role

    async def load_accounts(self) -> None:
        """Read the accounts that one may choose from."""
        rows = await self.gate.ledger.fetch("accounts", MAX_ACCOUNTS)
        self.accounts = [Account(**row) for row in rows]

    async def numbers(self) -> list[Number]:
        """Return the numbers of the account, with their money as it is now."""
        if self.account is None:
            return []
        rows = await self.gate.ledger.fetch("numbers_of_account", self.account.account_id, MAX_NUMBERS)
        return await shown_numbers(self.gate, rows)

    async def zone(self, number_id: str) -> ZoneInfo:
        """Return the time zone of a number."""
        return (await number_in_use(self.gate, number_id)).zone

    def ask(
        self, *, path: Mapping[str, str] | None = None, query: BaseModel | None = None, body: BaseModel | None = None
    ) -> Ask[Any, Any]:
        """Return a request to the functions behind the API's routes; a form's own key makes a write happen once."""
        return Ask(self.admin, path or {}, query or Nothing(), body or Nothing(), self.form.get("key"))

    def filled(self, model: type[ModelT], fields: Mapping[str, object]) -> ModelT:
        """Check fields as the API checks them; raises ProblemError with the API's sentence."""
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise invalid(error, model) from None

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Answer with a page."""
        tongue = self.tongue
        shared = {
            "_": tongue.say,
            "gettext": tongue.catalogue.ugettext,
            "ngettext": tongue.catalogue.ungettext,
            "visit": self,
            "tongue": tongue,
            "languages": LANGUAGES,
            "Role": Role,
            "path": self.request.path,
            "said": self.query.get("said", ""),
            "error": None,
        }
        return page(template, shared | values, status=status)


def go(path: str) -> web.Response:
    """Send the browser on after a form, so that reloading repeats nothing."""
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def label(number: Number) -> str:
    """Return how people know a number."""
    return number.display_phone_number or number.phone_number_id
