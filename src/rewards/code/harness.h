// The two Python programs between which a function under test and its check are split.
#pragma once

#include <string>

namespace grpo {

/// Both sides: how values cross. Lists and scalars are their own JSON, the rest is an object of one key. The encoder
/// may meet anything, the decoder makes only plain values.
inline constexpr const char* kValues = R"py(
import json, os, sys

def encode(value):
    if value is None or value is True or value is False:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, list):
        return [encode(each) for each in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(each) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(each)] for key, each in value.items()]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise TypeError("a value of type " + type(value).__name__ + " cannot cross")

def decode(value):
    if type(value) is list:
        return [decode(each) for each in value]
    if type(value) is not dict:
        return value
    (kind, body), = value.items()
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(each) for each in body)
    if kind == "dict":
        return {decode(key): decode(each) for key, each in body}
    if kind == "bytes":
        return bytes.fromhex(body)
    if kind == "complex":
        return complex(*body)
    raise ValueError("no such kind of value")

if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(100000)
)py";

/// The untrusted side. First line in: the source and the function's name; then a call a line in, an answer a line out.
inline constexpr const char* kCandidate = R"py(
import types
calls = os.fdopen(os.dup(0), "rb")
answers = os.fdopen(os.dup(1), "wb")
nowhere = os.open(os.devnull, os.O_RDWR)
os.dup2(nowhere, 0)
os.dup2(nowhere, 1)

def answer(message):
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()

def serve():
    job = json.loads(calls.readline())
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    exec(compile(job["source"], "candidate.py", "exec"), module.__dict__)
    names = module.__dict__
    solution = names.get("Solution")  # LeetCode's way: a method of a class that is made without arguments
    function = getattr(solution(), job["name"]) if hasattr(solution, job["name"]) else names[job["name"]]
    for line in calls:
        positional, named = decode(json.loads(line))
        try:
            message = {"value": encode(function(*positional, **named))}
        except Exception as error:
            message = {"raised": type(error).__name__, "says": str(error)[:200]}
        answer(message)

serve()
)py";

/// The side of the check. Standard input is the job, standard output the verdict: one JSON object. Whatever the check
/// prints goes nowhere.
inline constexpr const char* kCheck = R"py(
import builtins
verdict = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
job = json.load(sys.stdin.buffer)
requests = os.fdopen(3, "wb")
replies = os.fdopen(4, "rb")

class Lost(BaseException):
    pass

def send(message):
    try:
        requests.write(json.dumps(message).encode() + b"\n")
        requests.flush()
    except OSError:
        raise Lost("the program ended before it was asked") from None

def candidate(*positional, **named):
    send(encode(([*positional], named)))
    line = replies.readline(job["reply_bytes"])
    if not line.endswith(b"\n"):
        raise Lost("the program ended, or answered at too great a length")
    try:
        reply = json.loads(line)
        if "value" in reply:
            return decode(reply["value"])
        name, says = str(reply["raised"]), str(reply["says"])
    except Exception:
        raise Lost("the program's answer cannot be read") from None
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = RuntimeError
    try:
        error = kind(says)
    except Exception:
        error = RuntimeError(says)
    raise error

def plain(value):
    if type(value) in (list, tuple):
        return [plain(each) for each in value]
    if type(value) is dict:
        return {key: plain(each) for key, each in value.items()}
    return value

def tell(error):
    says, trace, lines = type(error).__name__ + ": " + str(error), error.__traceback__, job["check"].splitlines()
    line = 0
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "check.py" else line
        trace = trace.tb_next
    return (says + (" in " + lines[line - 1].strip() if 0 < line <= len(lines) else ""))[:400]

def show(value):
    try:
        return repr(value)[:150]
    except Exception:
        return "something that cannot be written"

def run():
    total = len(job["calls"]) if job["calls"] else 1
    try:
        names = {"__name__": "check"}
        exec(compile(job["setup"], "setup.py", "exec"), names)
        names[job["name"]] = candidate  # some checks call it by its name, too
        exec(compile(job["check"], "check.py", "exec"), names)
        check = None if job["calls"] else names["check"]
    except BaseException as error:
        return {"broken": tell(error)}
    passed, failed, number, says = 0, 0, 0, ""
    try:
        send({"source": job["source"], "name": job["name"]})
        if check:
            check(candidate)
            passed = 1
        for number, (positional, expected) in enumerate(job["calls"], 1):
            try:
                result = plain(candidate(*positional))
                right = result == expected
                says = says or ("" if right else "returned " + show(result) + ", expected " + show(expected))
            except Exception as error:
                right, says = False, says or tell(error)
            passed += right
            failed = failed or (0 if right else number)
            if not right and not job["partial"]:
                break
    except BaseException as error:
        failed, says = failed or number, tell(error)
    return {"passed": passed, "total": total, "failed": failed, "says": says}

json.dump(run(), verdict)
verdict.close()
os._exit(0)
)py";

}  // namespace grpo
