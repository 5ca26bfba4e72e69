"""One MLflow server over HTTP: credentials, time-outs, bounded retries, and each failure as one clear error."""

from __future__ import annotations

import configparser
import os
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from promotion.config.secrets import CREDENTIALS
from promotion.errors import (
    NotOffered,
    RegistryBroken,
    RegistryError,
    RegistryForbidden,
    RegistryUnauthorised,
    RegistryUnreachable,
    UsageError,
)
from promotion.registry.contract import without_password
from promotion.registry.failures import excerpt
from promotion.registry.retry import HINT, bounded_retrying, is_representer_error
from promotion.registry.searched import NotThere

CONNECT_SECONDS = 3.05  # just above a multiple of TCP's 3 s retransmission window
READ_SECONDS = 10.0
API = "/api/2.0/mlflow/"
_MAY_PASS = {429, 500, 502, 503, 504}
_NOT_OFFERED = {404, 405, 501}
_TRUE = {"true", "1"}  # MLflow's own spelling of a boolean variable, in any case

Json = Mapping[str, Any]


class _MayPass(Exception):
    """Wraps an error that another try may not meet."""


class MlflowServer:
    """Sends requests to one MLflow server.

    Credentials and TLS come from MLflow's own variables (`MLFLOW_TRACKING_USERNAME`, `_PASSWORD`, `_TOKEN`,
    `_INSECURE_TLS`, `_SERVER_CERT_PATH`, `_CLIENT_CERT_PATH`) and from `~/.mlflow/credentials`. Connecting may take
    3 s, an answer 10 s or what `MLFLOW_HTTP_REQUEST_TIMEOUT` says. No connection, 429 and 5xx are tried three times,
    the last one starting within 10 s.

    Raises:
        UsageError: `MLFLOW_HTTP_REQUEST_TIMEOUT` is no positive number, or a variable names a certificate that is not
            there, or none.
    """

    def __init__(self, uri: str) -> None:
        self.shown = without_password(uri)
        self._base = uri.rstrip("/") + API
        self._timeout = (CONNECT_SECONDS, _read_seconds())
        self._session = requests.Session()
        self._session.auth, self._user = _credentials()
        insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in _TRUE
        # Said with each request: of what only the session says, requests lets REQUESTS_CA_BUNDLE win.
        self._verify = _readable("MLFLOW_TRACKING_SERVER_CERT_PATH", _trust) or not insecure
        self._session.cert = _readable("MLFLOW_TRACKING_CLIENT_CERT_PATH", _present)
        if self._verify is True:
            _ = _readable("REQUESTS_CA_BUNDLE", _trust) or _readable("CURL_CA_BUNDLE", _trust)

    def get(self, endpoint: str, **parameters: str | int) -> Json:
        """Ask one endpoint below `/api/2.0/mlflow/`.

        Raises:
            NotThere: The server has no such resource.
            NotOffered: The server has no such endpoint.
            RegistryError: Everything else that fails, as the subclass that says how.
        """
        return self._patiently(lambda: self._once("GET", endpoint, params=parameters))

    def ask(self, endpoint: str, **body: Any) -> Json:
        """Ask one endpoint that takes its question as a body; raises as `get`."""
        return self._patiently(lambda: self._once("POST", endpoint, json=body))

    def release(self) -> str:
        """The MLflow version that the server says it is; empty where it does not say."""
        address = self._base.removesuffix(API) + "/version"
        try:
            answer = self._session.get(address, timeout=self._timeout, allow_redirects=False, verify=self._verify)
        except requests.exceptions.RequestException:
            return ""
        text = answer.text.strip()
        return text if answer.ok and re.fullmatch(r"\d+\.\d+[\w.+-]{0,20}", text) else ""

    def send(self, method: str, endpoint: str, **body: str | bool) -> None:
        """Change something; raises as `get`. Each write of ours can be repeated without harm, so it is retried, too."""
        self._patiently(lambda: self._once(method, endpoint, json=body))

    def require_right(self, method: str, endpoint: str, **body: str | bool) -> bool:
        """Send once what cannot succeed: a server looks at rights first; returns whether it said anything about them.

        Raises:
            RegistryUnauthorised: 401.
            RegistryForbidden: 403.
        """
        try:
            self._once(method, endpoint, json=body)
        except (RegistryUnauthorised, RegistryForbidden):
            raise
        except (NotThere, RegistryError):
            return True
        except _MayPass:
            return False
        return True

    def _patiently(self, call: Callable[[], Json]) -> Json:
        try:
            return bounded_retrying(lambda error: isinstance(error, _MayPass), first=0.4, longest=3.0)(call)
        except _MayPass as wrapped:
            raise wrapped.args[0] from wrapped.__cause__

    def _once(self, method: str, endpoint: str, **content: Any) -> Json:
        try:
            response = self._session.request(
                method,
                self._base + endpoint,
                timeout=self._timeout,
                verify=self._verify,
                # A redirected POST would arrive as a GET.
                allow_redirects=method == "GET",
                **content,
            )
        except requests.exceptions.SSLError as error:
            raise RegistryUnreachable(f"{self.shown}: TLS failed ({_root(error)}): {_tls_remedy(error)}") from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader) as error:
            raise UsageError(
                f"{self.shown}: {_root(error)}: check MLFLOW_TRACKING_URI and the MLflow credentials"
            ) from error
        except requests.exceptions.ReadTimeout as error:
            raise _MayPass(
                RegistryUnreachable(
                    f"{self.shown}: connected, but no answer from {endpoint} within {self._timeout[1]:g} s: "
                    "try again, or set MLFLOW_HTTP_REQUEST_TIMEOUT to more seconds"
                )
            ) from error
        except requests.exceptions.RequestException as error:
            raise _MayPass(
                RegistryUnreachable(
                    f"{self.shown}: no connection ({_root(error)}): is the server up, and MLFLOW_TRACKING_URI right?"
                    f"{self._client_certificate_hint(error)}"
                )
            ) from error
        return self._read(response, endpoint)

    def _read(self, response: requests.Response, endpoint: str) -> Json:
        if response.ok and not response.is_redirect:
            return self._json(response, endpoint)
        code, text = _error_of(response)
        if code == "RESOURCE_DOES_NOT_EXIST":
            raise NotThere(text)
        raise self._failure(response, endpoint, text)

    def _json(self, response: requests.Response, endpoint: str) -> Json:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise RegistryBroken(
                f"{self.shown}: {endpoint} answered {response.status_code} with something that is no MLflow answer "
                f"({excerpt(response.text)}): is this an MLflow server, or a proxy or login page in front of it?"
            )
        return answer

    def _failure(self, response: requests.Response, endpoint: str, text: str) -> Exception:
        status = response.status_code
        kind: type[RegistryError] = RegistryError
        remedy = ""
        if status == requests.codes.unauthorized:
            kind, text, remedy = RegistryUnauthorised, "not authorised", self._credentials_hint()
        elif status == requests.codes.forbidden:
            who = f"user {self._user!r}" if self._user else "this access"
            kind = RegistryForbidden
            remedy = f"{who} is known but may not do this; ask the server's admin for the permission"
        elif status in _NOT_OFFERED:
            kind, text = NotOffered, "the server does not offer this endpoint"
            remedy = "it is older than MLflow 2.3, or MLFLOW_TRACKING_URI has a wrong path"
        elif response.is_redirect:
            kind, text = RegistryBroken, f"a redirect to {without_password(response.headers['location'])}"
            remedy = "set MLFLOW_TRACKING_URI to the server's final address"
        elif status in _MAY_PASS:
            kind, remedy = RegistryBroken, "the server's log says more"
        error = kind(f"{self.shown}: {endpoint} answered {status} ({text})" + (f": {remedy}" if remedy else ""))
        if is_representer_error(error):
            # Another try meets it again.
            return RegistryBroken(f"{error}; {HINT}")
        return _MayPass(error) if status in _MAY_PASS else error

    def _client_certificate_hint(self, error: Exception) -> str:
        """What a server may miss that hangs up without a word after the TLS handshake."""
        if "without response" not in str(error) or not self._base.startswith("https:") or self._session.cert:
            return ""
        return " One that asks for a certificate finds it by MLFLOW_TRACKING_CLIENT_CERT_PATH"

    def _credentials_hint(self) -> str:
        pair = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        if self._session.auth is None:
            return f"no credentials were sent; set {pair}, or MLFLOW_TRACKING_TOKEN"
        if self._user:
            return f"the password of user {self._user!r} was not accepted; check {pair}"
        return "the token was not accepted; renew MLFLOW_TRACKING_TOKEN"


class _Bearer(AuthBase):
    """A token; as an auth object it also wins over an entry in ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _credentials() -> tuple[AuthBase | None, str | None]:
    """What to send and the user's name for messages; a password wins over a token, as in MLflow.

    Raises:
        UsageError: The file cannot be read, or a token cannot be sent; what stands there is not said.
    """
    stored = _stored_credentials()
    user, password = (
        os.environ.get(variable) or stored.get("mlflow", variable.lower(), fallback=None)
        for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    )
    if user and password:
        # Bytes, because requests would encode text as Latin-1.
        return HTTPBasicAuth(user.encode(), password.encode()), user
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        if not token.isascii() or not token.isprintable():
            raise UsageError(
                "MLFLOW_TRACKING_TOKEN: holds a line break or another character that no header takes: set it to the "
                "token alone, for example without the last line break of the file it comes from"
            )
        return _Bearer(token), None
    return None, None


def _stored_credentials() -> configparser.ConfigParser:
    stored = configparser.ConfigParser(interpolation=None)
    try:
        stored.read(CREDENTIALS.expanduser(), encoding="utf-8")
    except RuntimeError:  # a user without a home folder has none
        pass
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        # The error would quote the password.
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise UsageError(
            f"{CREDENTIALS}: not readable ({reason}): expected UTF-8 text with a section [mlflow] and in it "
            "mlflow_tracking_username and mlflow_tracking_password, a line each"
        ) from None
    return stored


def _readable(variable: str, load: Callable[[str], None]) -> str | None:
    """The file or folder of certificates that a variable names; None where it names none."""
    path = os.environ.get(variable)
    if not path:
        return None
    if not os.path.exists(path):  # noqa: PTH110  # a name that no path can have is not there, either
        raise UsageError(f"{variable}: {path!r} does not exist: name the file with the certificate, or unset it")
    try:
        load(path)
    except OSError as error:
        needed = "certificates in PEM" if load is _trust else "a certificate and its key, both in this one file in PEM"
        raise UsageError(f"{variable}: {path!r} is not readable ({_root(error)}): expected {needed}") from error
    return path


def _trust(path: str) -> None:
    """Read the certificates of those who may sign a server's."""
    folder = os.path.isdir(path)  # noqa: PTH112  # as `os.path.exists`
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**{"capath" if folder else "cafile": path})


def _present(path: str) -> None:
    """Read the certificate that is shown to a server, and its key; a key with a password is left to who asks for it."""
    asked = []

    def no_password() -> str:
        asked.append(path)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password=no_password)
    except ssl.SSLError:
        if not asked:
            raise


def _tls_remedy(error: Exception) -> str:
    """What helps, by what OpenSSL says."""
    said = _root(error).upper()
    if "WRONG_VERSION_NUMBER" in said or "RECORD_LAYER_FAILURE" in said:
        return "the server speaks no TLS there: is it http://, or another port?"
    if "ALERT" in said:
        return "the server refuses: set MLFLOW_TRACKING_CLIENT_CERT_PATH to a certificate that it takes, with its key"
    return "set MLFLOW_TRACKING_SERVER_CERT_PATH to the CA's file"


def _read_seconds() -> float:
    text = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT")
    if not text:
        return READ_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"MLFLOW_HTTP_REQUEST_TIMEOUT: expected a positive number of seconds, found {text!r}")
    return seconds


def _error_of(response: requests.Response) -> tuple[str, str]:
    """MLflow's error code and message, or an excerpt of whatever else was answered."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict) and "error_code" in answer:
        return str(answer["error_code"]), excerpt(str(answer.get("message", "")))
    # A server's error page repeats itself; its title says it once.
    title = re.search(r"<title>(.*?)</title>", response.text, re.IGNORECASE | re.DOTALL)
    return "", excerpt(title[1] if title else response.text)


def _root(error: BaseException) -> str:
    """The innermost reason, without the object addresses urllib3 puts in front."""
    while inner := (error.__cause__ or error.__context__):
        error = inner
    return excerpt(str(error) or type(error).__name__)
