"""Instructions of PTX that compute: integers, floats, comparisons, conversions."""

from __future__ import annotations

from .ptx_code import FLOAT, Code, opcode
from .ptx_reader import BITS

COMPARED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
# fmt: off
FLOAT_COMPARED = {
    "eq": "oeq", "ne": "one", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "num": "ord",
    "equ": "ueq", "neu": "une", "ltu": "ult", "leu": "ule", "gtu": "ugt", "geu": "uge", "nan": "uno",
}
# fmt: on


def is_float(kind: str) -> bool:
    return "f" in kind


def agree(code: Code, registers: list[str], kind: str) -> None:
    for x in registers:
        code.agree(x, kind)


# -- parts of every 16-bit float --------------------------------------------------------------------------------------------


def widen_bfloat(code: Code, bits: str) -> str:
    """bfloat16 bits as a float."""
    wide = code.op("shl", "i32", code.cast("zext", "i16", bits, "i32"), "16")
    return code.cast("bitcast", "i32", wide, "float")


def narrow_bfloat(code: Code, value: str, relu: bool = False) -> str:
    """A float as bfloat16 bits, to nearest even. The processor's own instruction would flush denormals."""
    x = code.cast("bitcast", "float", value, "i32")
    odd = code.op("and", "i32", code.op("lshr", "i32", x, "16"), "1")
    rounded = code.op("lshr", "i32", code.op("add", "i32", code.op("add", "i32", x, "32767"), odd), "16")
    nan = code.op("fcmp uno", "float", value, value)
    return code.cast("trunc", "i32", code.select(nan, "i32", "32767", rounded), "i16")


def odd_float(code: Code, value: str) -> str:
    """A double as the float towards zero, with its last bit set if anything was lost: rounded once more to 16 bits, it
    gives what the double itself would."""
    near = code.cast("fptrunc", "double", value, "float")
    back, bits = code.cast("fpext", "float", near, "double"), code.cast("bitcast", "float", near, "i32")
    sizes = [code.intrinsic("fabs.f64", "double", f"double {x}") for x in (back, value)]
    beyond = code.op("fcmp ogt", "double", *sizes)
    lost = code.cast("zext", "i1", code.op("fcmp one", "double", back, value), "i32")
    bits = code.op("or", "i32", code.op("sub", "i32", bits, code.cast("zext", "i1", beyond, "i32")), lost)
    return code.cast("bitcast", "i32", bits, "float")


def load_floats(code: Code, x: str, kind: str) -> tuple[str, list[str]]:
    """An operand as values of a type that LLVM computes in: (type, one value, or two of a pair)."""
    code.agree(x, kind)
    if kind == "bf16":
        return "float", [widen_bfloat(code, code.get(x, 16))]
    if kind in ("bf16x2", "f16x2"):
        whole = code.get(x, 32)
        halves = [
            code.cast("trunc", "i32", whole, "i16"),
            code.cast("trunc", "i32", code.op("lshr", "i32", whole, "16"), "i16"),
        ]
        if kind == "f16x2":
            return "half", [code.cast("bitcast", "i16", h, "half") for h in halves]
        return "float", [widen_bfloat(code, h) for h in halves]
    return FLOAT[kind], [code.get_float(x, kind)]


def store_floats(code: Code, register: str, kind: str, values: list[str]) -> None:
    code.agree(register, kind)
    if kind == "bf16":
        return code.put(register, narrow_bfloat(code, values[0]), 16)
    if kind in ("bf16x2", "f16x2"):
        as_bits = narrow_bfloat if kind == "bf16x2" else lambda code, v: code.cast("bitcast", "half", v, "i16")
        low, high = (code.cast("zext", "i16", as_bits(code, v), "i32") for v in values)
        return code.put(register, code.op("or", "i32", low, code.op("shl", "i32", high, "16")), 32)
    code.put_float(register, values[0], kind)


# -- floats ----------------------------------------------------------------------------------------------------------------
SUFFIX = {"half": "f16", "float": "f32", "double": "f64"}


def float_value(code: Code, name: str, typ: str, x: list[str], mods: list[str]) -> str:
    two = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
    typed = [f"{typ} {v}" for v in x]
    if name in ("div", "sqrt", "rcp") and "rn" not in mods:
        raise code.error("only .rn is exact")
    if name in two:
        return code.op(two[name], typ, x[0], x[1])
    if name == "fma" and code.types()[-1] not in ("f32", "f64"):  # exact in double; then rounded once
        exact = [f"double {code.cast('fpext', typ, v, 'double')}" for v in x]
        result = odd_float(code, code.intrinsic("fma.f64", "double", *exact))
        return result if typ == "float" else code.cast("fptrunc", "float", result, typ)
    if name in ("fma", "mad"):
        return code.intrinsic(f"fma.{SUFFIX[typ]}", typ, *typed)
    if name == "sqrt":
        return code.intrinsic(f"sqrt.{SUFFIX[typ]}", typ, *typed)
    if name == "rcp":
        return code.op("fdiv", typ, "1.0", x[0])
    if name in ("min", "max"):  # the number wins over NaN, unless .NaN
        return code.intrinsic(f"{name}imum{'' if 'NaN' in mods else 'num'}.{SUFFIX[typ]}", typ, *typed)
    raise code.error()


def floating(code: Code, name: str, args: list[str], kind: str) -> None:
    mods = code.mods("rn", "NaN")
    if name in ("neg", "abs", "copysign"):
        return signs(code, name, args, kind)
    loaded = [load_floats(code, a, kind) for a in args[1:]]
    typ = loaded[0][0]
    values = [float_value(code, name, typ, list(x), mods) for x in zip(*(v for _, v in loaded), strict=True)]
    store_floats(code, args[0], kind, values)


def signs(code: Code, name: str, args: list[str], kind: str) -> None:
    agree(code, args, kind)
    bits = BITS[kind]
    sign = 0x80008000 if kind.endswith("x2") else 1 << bits - 1
    rest = (1 << bits) - 1 - sign
    x = code.get(args[1], bits)
    if name == "neg":
        r = code.op("xor", f"i{bits}", x, sign)
    elif name == "abs":
        r = code.op("and", f"i{bits}", x, rest)
    else:  # the sign of a, the rest of b
        y = code.op("and", f"i{bits}", code.get(args[2], bits), rest)
        r = code.op("or", f"i{bits}", code.op("and", f"i{bits}", x, sign), y)
    code.put(args[0], r, bits)


@opcode("testp")
def _testp(code: Code, args: list[str]) -> None:
    classes = {"finite": 504, "infinite": 516, "number": 1020, "notanumber": 3, "normal": 264, "subnormal": 144}
    (name,), kind = code.mods(*classes), code.types()[-1]
    x = code.get_float(args[1], kind)
    test = code.intrinsic(f"is.fpclass.{kind}", "i1", f"{FLOAT[kind]} {x}", f"i32 {classes[name]}")
    code.put(args[0], test, 1)


# -- integers --------------------------------------------------------------------------------------------------------------


def divided(code: Code, name: str, bits: int, signed: bool, a: str, b: str) -> str:
    """Division by 0 and of the least number by -1 stop a CPU; a GPU gives some number."""
    typ = f"i{bits}"
    zero = code.op("icmp eq", typ, b, "0")
    unsafe = zero
    if signed:
        least = code.op("icmp eq", typ, a, -(1 << bits - 1))
        minus = code.op("icmp eq", typ, b, "-1")
        unsafe = code.op("or", "i1", zero, code.op("and", "i1", least, minus))
    safe = code.select(unsafe, typ, "1", b)
    result = code.op(f"{'s' if signed else 'u'}{name}", typ, a, safe)
    instead = "-1" if name == "div" else a
    return code.select(zero, typ, instead, result)


def integer(code: Code, name: str, args: list[str], kind: str) -> None:
    mods = code.mods("lo", "hi", "wide")
    agree(code, args, kind)
    bits, signed = BITS[kind], kind[0] == "s"
    if name in ("mul", "mad") and ("wide" in mods or "hi" in mods):
        return wide_product(code, name, args, bits, signed, "hi" in mods)
    typ, x = f"i{bits}", [code.get(a, bits) for a in args[1:]]
    plain = {"add": "add", "sub": "sub", "and": "and", "or": "or", "xor": "xor", "mul": "mul"}
    if name in plain:
        r = code.op(plain[name], typ, x[0], x[1])
    elif name in ("div", "rem"):
        r = divided(code, name, bits, signed, x[0], x[1])
    elif name == "mad":
        r = code.op("add", typ, code.op("mul", typ, x[0], x[1]), x[2])
    elif name == "not":
        r = code.op("xor", typ, x[0], "-1")
    elif name == "neg":
        r = code.op("sub", typ, "0", x[0])
    elif name == "abs":
        r = code.intrinsic(f"abs.i{bits}", typ, f"{typ} {x[0]}", "i1 false")
    elif name in ("max", "min"):
        r = code.intrinsic(f"{'s' if signed else 'u'}{name}.i{bits}", typ, f"{typ} {x[0]}", f"{typ} {x[1]}")
    elif name in ("popc", "clz"):
        code.agree(args[0], "u32")
        more = ["i1 false"] if name == "clz" else []
        r = code.intrinsic(f"ct{'pop' if name == 'popc' else 'lz'}.i{bits}", typ, f"{typ} {x[0]}", *more)
        return code.put(args[0], r if bits == 32 else code.cast("trunc", typ, r, "i32"), 32)
    elif name == "cnot":
        r = code.cast("zext", "i1", code.op("icmp eq", typ, x[0], 0), typ)
    elif name == "brev":
        r = code.intrinsic(f"bitreverse.i{bits}", typ, f"{typ} {x[0]}")
    else:
        raise code.error()
    code.put(args[0], r, bits, signed)


def wide_product(code: Code, name: str, args: list[str], bits: int, signed: bool, high: bool) -> None:
    wide, extend = f"i{2 * bits}", "sext" if signed else "zext"
    a, b = (code.cast(extend, f"i{bits}", code.get(x, bits), wide) for x in args[1:3])
    r = code.op("mul", wide, a, b)
    if high:
        r = code.cast("trunc", wide, code.op("lshr", wide, r, bits), f"i{bits}")
        if name == "mad":
            r = code.op("add", f"i{bits}", r, code.get(args[3], bits))
        return code.put(args[0], r, bits, signed)
    if name == "mad":
        r = code.op("add", wide, r, code.get(args[3], 2 * bits))
    code.put(args[0], r, 2 * bits, signed)


@opcode("add sub mul div fma mad neg abs sqrt rcp min max copysign rem and or xor not cnot popc clz brev")
def _compute(code: Code, args: list[str]) -> None:
    name, kind = code.instruction.op.split(".")[0], code.types()[-1]
    if kind == "pred":
        x = [code.get(a, 1) for a in args[1:]]
        if name == "not":
            return code.put(args[0], code.op("xor", "i1", x[0], "true"), 1)
        return code.put(args[0], code.op(name, "i1", x[0], x[1]), 1)
    (floating if is_float(kind) else integer)(code, name, args, kind)


@opcode("shl shr")
def _shift(code: Code, args: list[str]) -> None:
    """By more than the width, all bits are gone, or are the sign."""
    code.mods()
    name, kind = code.instruction.op.split(".")[0], code.types()[-1]
    bits, signed = BITS[kind], kind[0] == "s" and name == "shr"
    agree(code, args[:2], kind)
    code.agree(args[2], "u32")
    a, b = code.get(args[1], bits), code.get(args[2], 32)
    most = code.intrinsic("umin.i32", "i32", f"i32 {b}", f"i32 {bits - 1 if signed else bits}")
    wide = f"i{2 * bits}"
    a = code.cast("sext" if signed else "zext", f"i{bits}", a, wide)
    distance = code.cast("zext" if 2 * bits > 32 else "bitcast", "i32", most, wide) if bits > 8 else "0"
    r = code.op("shl" if name == "shl" else "ashr" if signed else "lshr", wide, a, distance)
    code.put(args[0], code.cast("trunc", wide, r, f"i{bits}"), bits, signed)


def joined(code: Code, low: str, high: str) -> str:
    """Two halves of 64 bits."""
    low, high = (code.cast("zext", "i32", x, "i64") for x in (low, high))
    return code.op("or", "i64", low, code.op("shl", "i64", high, "32"))


@opcode("shf")
def _funnel(code: Code, args: list[str]) -> None:
    """The upper or lower half of {b, a} shifted."""
    mods = code.mods("l", "r", "wrap", "clamp")
    a, b, c = (code.get(x, 32) for x in args[1:4])
    wide = joined(code, a, b)
    least = code.intrinsic("umin.i32", "i32", f"i32 {c}", "i32 32")
    c = code.op("and", "i32", c, "31") if "wrap" in mods else least
    c = code.cast("zext", "i32", c, "i64")
    left = code.op("lshr", "i64", code.op("shl", "i64", wide, c), "32")
    right = code.op("lshr", "i64", wide, c)
    code.put(args[0], code.cast("trunc", "i64", left if "l" in mods else right, "i32"), 32)


@opcode("bfe")
def _bfe(code: Code, args: list[str]) -> None:
    """Some bits, as a number. With a sign: shifted to the top and back."""
    code.mods()
    kind = code.types()[-1]
    bits, signed = BITS[kind], kind[0] == "s"
    agree(code, args[:2], kind)
    x, wide = code.get(args[1], bits), f"i{2 * bits}"
    at, count = (code.cast("zext", "i32", code.op("and", "i32", code.get(a, 32), "255"), wide) for a in args[2:4])
    x = code.cast("sext" if signed else "zext", f"i{bits}", x, wide)
    at = code.intrinsic(f"umin.{wide}", wide, f"{wide} {at}", f"{wide} {bits}")
    count = code.intrinsic(f"umin.{wide}", wide, f"{wide} {count}", f"{wide} {bits}")
    x = code.op("ashr" if signed else "lshr", wide, x, at)
    rest = code.op("sub", wide, 2 * bits - 1, count)
    x = code.op("shl", wide, code.op("shl", wide, x, rest), "1")
    x = code.op("ashr" if signed else "lshr", wide, x, rest)
    x = code.op("ashr" if signed else "lshr", wide, x, "1")
    code.put(args[0], code.cast("trunc", wide, x, f"i{bits}"), bits, signed)


@opcode("bfi")
def _bfi(code: Code, args: list[str]) -> None:
    """The low bits of a, put into b."""
    code.mods()
    bits = BITS[code.types()[-1]]
    wide = f"i{2 * bits}"
    a, b = (code.cast("zext", f"i{bits}", code.get(x, bits), wide) for x in args[1:3])
    at, count = (code.cast("zext", "i32", code.op("and", "i32", code.get(x, 32), "255"), wide) for x in args[3:5])
    at = code.intrinsic(f"umin.{wide}", wide, f"{wide} {at}", f"{wide} {bits}")
    count = code.intrinsic(f"umin.{wide}", wide, f"{wide} {count}", f"{wide} {bits}")
    ones = code.op("sub", wide, code.op("shl", wide, "1", count), "1")
    mask = code.op("shl", wide, ones, at)
    new = code.op("and", wide, code.op("shl", wide, a, at), mask)
    old = code.op("and", wide, b, code.op("xor", wide, mask, "-1"))
    code.put(args[0], code.cast("trunc", wide, code.op("or", wide, new, old), f"i{bits}"), bits)


@opcode("prmt")
def _prmt(code: Code, args: list[str]) -> None:
    """Four bytes of eight, by four selectors of four bits; the highest bit asks for the sign of the byte."""
    code.mods()
    a, b, selector = (code.get(x, 32) for x in args[1:4])
    both = joined(code, a, b)
    selector, whole = code.cast("zext", "i32", selector, "i64"), "0"
    for i in range(4):
        nibble = code.op("lshr", "i64", selector, 4 * i)
        distance = code.op("shl", "i64", code.op("and", "i64", nibble, "7"), "3")
        byte = code.cast("trunc", "i64", code.op("lshr", "i64", both, distance), "i8")
        sign = code.op("ashr", "i8", byte, "7")
        wants = code.op("icmp ne", "i64", code.op("and", "i64", nibble, "8"), "0")
        byte = code.select(wants, "i8", sign, byte)
        part = code.op("shl", "i32", code.cast("zext", "i8", byte, "i32"), 8 * i)
        whole = code.op("or", "i32", whole, part)
    code.put(args[0], whole, 32)


@opcode("lop3")
def _lop3(code: Code, args: list[str]) -> None:
    """Any function of three bits: its table is the last operand."""
    code.mods()
    inputs, table, whole = [code.get(x, 32) for x in args[1:4]], code.immediate(args[4], 32), "0"
    negated = [code.op("xor", "i32", x, "-1") for x in inputs]
    for row in range(8):
        if table >> row & 1:
            a, b, c = (inputs[i] if row >> 2 - i & 1 else negated[i] for i in range(3))
            whole = code.op("or", "i32", whole, code.op("and", "i32", code.op("and", "i32", a, b), c))
    code.put(args[0], whole, 32)


# -- comparisons -----------------------------------------------------------------------------------------------------------


def compared(code: Code, condition: str, kind: str, a: str, b: str) -> str:
    if is_float(kind):
        if kind == "bf16":
            typ, (x,), (y,) = "float", *(load_floats(code, v, kind)[1] for v in (a, b))
        else:
            typ, x, y = FLOAT[kind], code.get_float(a, kind), code.get_float(b, kind)
        return code.op(f"fcmp {FLOAT_COMPARED[condition]}", typ, x, y)
    agree(code, [a, b], kind)
    x, y = code.get(a, BITS[kind]), code.get(b, BITS[kind])
    sign = "" if condition in ("eq", "ne") else "s" if kind[0] == "s" else "u"
    return code.op(f"icmp {sign}{COMPARED.get(condition, condition)}", f"i{BITS[kind]}", x, y)


@opcode("setp")
def _setp(code: Code, args: list[str]) -> None:
    conditions, joins = [*COMPARED, *FLOAT_COMPARED], ("and", "or", "xor")
    mods, kind = code.mods(*conditions, *joins), code.types()[-1]
    first = compared(code, mods[0], kind, args[1], args[2])
    results = [first, code.op("xor", "i1", first, "true")]
    if len(mods) > 1:
        other = code.get(args[3].lstrip("!"), 1)
        if args[3].startswith("!"):
            other = code.op("xor", "i1", other, "true")
        results = [code.op(mods[1], "i1", r, other) for r in results]
    for target, r in zip(args[0].split("|"), results, strict=False):
        code.put(target, r, 1)


@opcode("selp")
def _selp(code: Code, args: list[str]) -> None:
    code.mods()
    kind = code.types()[-1]
    agree(code, args[:3], kind)
    bits = BITS[kind]
    a, b, which = code.get(args[1], bits), code.get(args[2], bits), code.get(args[3], 1)
    code.put(args[0], code.select(which, f"i{bits}", a, b), bits)


# -- conversions -----------------------------------------------------------------------------------------------------------
WHOLE = {"rmi": "floor", "rpi": "ceil", "rzi": "trunc", "rni": "roundeven"}


@opcode("cvt")
def _cvt(code: Code, args: list[str]) -> None:
    mods, (to, source) = code.mods("rn", "rna", *WHOLE), code.types()
    if (to == "tf32") != ("rna" in mods):
        raise code.error()
    code.holds(args[0], to)
    for x in args[1:]:
        code.holds(x, source)
    if to in ("f16x2", "bf16x2") and source == "f32":  # the first operand goes to the upper half
        values = [code.get_float(x, "f32") for x in (args[2], args[1])]
        if to == "f16x2":
            values = [code.cast("fptrunc", "float", v, "half") for v in values]
        return store_floats(code, args[0], to, values)
    if to == "tf32":
        return shortened(code, args)
    if is_float(to) and is_float(source):
        return float_to_float(code, args, to, source, mods)
    if is_float(source):
        return float_to_integer(code, args, to, source, mods)
    bits = BITS[source]
    x = code.get(args[1], bits)
    if is_float(to):
        typ = "float" if to == "bf16" else FLOAT[to]
        if "rn" not in mods:
            raise code.error("only .rn")
        value = code.cast("sitofp" if source[0] == "s" else "uitofp", f"i{bits}", x, typ)
        return store_floats(code, args[0], to, [value])
    if BITS[to] != bits:
        how = "trunc" if BITS[to] < bits else "sext" if source[0] == "s" else "zext"
        x = code.cast(how, f"i{bits}", x, f"i{BITS[to]}")
    code.put(args[0], x, BITS[to], to[0] == "s")


def shortened(code: Code, args: list[str]) -> None:
    """A float with 10 bits behind the point, the nearest; the greater one half way."""
    bits = code.get(args[1], 32)
    value = code.get_float(args[1], "f32")
    sized = code.intrinsic("fabs.f32", "float", f"float {value}")
    finite = code.op("fcmp olt", "float", sized, "0x7FF0000000000000")
    near = code.op("and", "i32", code.op("add", "i32", bits, 0x1000), -0x2000)
    code.put(args[0], code.select(finite, "i32", near, bits), 32)


@opcode("dp4a")
def _dp4a(code: Code, args: list[str]) -> None:
    """The sum of four products of bytes, and the last operand."""
    code.mods()
    kinds, total = code.types(), code.get(args[3], 32)
    words = [code.get(x, 32) for x in args[1:3]]
    for i in range(4):
        parts = []
        for word, kind in zip(words, kinds, strict=True):
            byte = code.cast("trunc", "i32", code.op("lshr", "i32", word, 8 * i), "i8")
            parts.append(code.cast("sext" if kind[0] == "s" else "zext", "i8", byte, "i32"))
        total = code.op("add", "i32", total, code.op("mul", "i32", *parts))
    code.put(args[0], total, 32)


def float_to_float(code: Code, args: list[str], to: str, source: str, mods: list[str]) -> None:
    typ, (x,) = load_floats(code, args[1], source)
    whole = [WHOLE[m] for m in mods if m in WHOLE]
    if whole:
        x = code.intrinsic(f"{whole[0]}.{SUFFIX[typ]}", typ, f"{typ} {x}")
    want = "float" if to == "bf16" else FLOAT[to]
    if BITS[to] < BITS[source] and "rn" not in mods:
        raise code.error("only .rn")
    if to in ("bf16", "f16") and source == "f64":
        typ, x = "float", odd_float(code, x)
    sizes = ["half", "float", "double"]
    if want != typ:
        x = code.cast("fpext" if sizes.index(want) > sizes.index(typ) else "fptrunc", typ, x, want)
    store_floats(code, args[0], to, [x])


def float_to_integer(code: Code, args: list[str], to: str, source: str, mods: list[str]) -> None:
    """What is out of range becomes the nearest number. NaN becomes 0, or the highest bit alone where 64 bits take part."""
    typ, (x,) = load_floats(code, args[1], source)
    whole = [WHOLE[m] for m in mods if m in WHOLE]
    if not whole:
        raise code.error("a rounding is needed")
    rounded = code.intrinsic(f"{whole[0]}.{SUFFIX[typ]}", typ, f"{typ} {x}")
    bits, signed = BITS[to], to[0] == "s"
    result = code.intrinsic(f"fpto{'s' if signed else 'u'}i.sat.i{bits}.{SUFFIX[typ]}", f"i{bits}", f"{typ} {rounded}")
    if source == "f64" or bits == 64:
        nan = code.op("fcmp uno", typ, x, x)
        result = code.select(nan, f"i{bits}", -(1 << bits - 1), result)
    code.put(args[0], result, bits, signed)
