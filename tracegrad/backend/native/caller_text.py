"""The LLVM text of the function that follows a table; what a table says, see `caller`."""

from __future__ import annotations

from collections.abc import Sequence

from tracegrad.backend.native.caller import MOST, Step
from tracegrad.backend.native.entry import TUPLE_ITEMS, Text, with_notes
from tracegrad.backend.native.externals import ENTRY
from tracegrad.backend.native.writer import Module, Writer

_TYPE, _SIZE, _HELD = 8, 16, 16
_BYTES = 32
"""Where the bytes of a bytes object begin."""

_HEAD = 8
"""Words before the first row; a row has four."""


def text() -> Text:
    """A ``METH_FASTCALL | METH_KEYWORDS`` function, whose table is in the first item of self."""
    module = Module()
    writer = Writer(module)
    _Caller(writer).write()
    head = "ptr %self, ptr %given, i64 %count, ptr %named"
    function = [
        f"define ptr @{ENTRY}({head}) {{\nstart:",
        *writer.slots,
        *writer.lines,
        "}",
    ]
    return Text(with_notes(module, function), tuple(module.addresses))


class _Caller:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        room = f"[{MOST} x ptr]"
        self.values, self.passed, self.results, self.parts = (writer.slot(room) for _ in range(4))
        self.row = writer.slot("ptr")
        self.filled = writer.slot("i64", "0")
        """How many arguments are passed; each is held."""
        self.owned, self.owning = writer.slot(room), writer.slot("i64", "0")
        """Values that are held, as nobody else's or part of what may change, and how many."""
        self.depth = writer.slot("i64", "0")
        """How many parts there are."""
        self.made = writer.slot("i64", "0")
        """How many results there are."""
        self.next, self.miss, self.failed, self.end = (
            writer.label(each) for each in ("next", "miss", "failed", "end")
        )
        self.answer = writer.slot("ptr", "null")

    # --- what is often done

    def _at(self, array: str, index: str) -> str:
        return self.writer.op(f"getelementptr ptr, ptr {array}, i64 {index}")

    def _item(self, array: str, index: str) -> str:
        return self.writer.op(f"load ptr, ptr {self._at(array, index)}")

    def _field(self, object: str, offset: int, type: str = "ptr") -> str:
        place = self.writer.op(f"getelementptr i8, ptr {object}, i64 {offset}")
        return self.writer.op(f"load {type}, ptr {place}")

    def _word(self, table: str, number: int, type: str = "i64") -> str:
        return self._field(table, 8 * number, type)

    def _only_if(self, condition: str, otherwise: str) -> None:
        fine = self.writer.label("fine")
        self.writer.branch(self.writer.op(f"xor i1 {condition}, true"), otherwise, fine, rare=True)
        self.writer.start(fine)

    def _end_block(self, label: str) -> None:
        self.writer.jump(label)
        self.writer.open = False

    def _release(self, array: str, count: str) -> None:
        """Let go of the first objects of an array, those that are not null."""
        writer = self.writer
        with writer.loop(writer.op(f"load i64, ptr {count}")) as k:
            writer.call("Py_DecRef", "void", f"ptr {self._item(array, k)}")
        writer.do(f"store i64 0, ptr {count}")

    def _push(self, object: str) -> None:
        depth = self.writer.op(f"load i64, ptr {self.depth}")
        self.writer.do(f"store ptr {object}, ptr {self._at(self.parts, depth)}")
        self.writer.do(f"store i64 {self.writer.op(f'add i64 {depth}, 1')}, ptr {self.depth}")

    # --- the function

    def write(self) -> None:
        writer, op, do = self.writer, self.writer.op, self.writer.do
        table = op(f"getelementptr i8, ptr {self._field('%self', TUPLE_ITEMS)}, i64 {_BYTES}")
        self._arguments(table)
        do(f"store ptr {op(f'getelementptr i64, ptr {table}, i64 {_HEAD}')}, ptr {self.row}")
        writer.start(self.next)
        row = op(f"load ptr, ptr {self.row}")
        do(f"store ptr {op(f'getelementptr i8, ptr {row}, i64 32')}, ptr {self.row}")
        step, a, b = (self._word(row, k) for k in range(3))
        p = self._word(row, 3, "ptr")
        labels = {each: writer.label(each.name.lower()) for each in Step}
        ways = " ".join(f"i64 {int(each)}, label %{label}" for each, label in labels.items())
        do(f"switch i64 {step}, label %{self.miss} [ {ways} ]")
        writer.open = False
        for each, label in labels.items():
            writer.start(label)
            if each is Step.RUN:
                self._run(table, a)
            elif each is Step.RETURN:
                do(f"store ptr {self._item(self.parts, '0')}, ptr {self.answer}")
                self._end_block(self.end)
                continue
            elif each < Step.RUN:
                self._take_apart(each, a, b, p)
            else:
                self._put_together(each, a, p)
            self._end_block(self.next)
        self._ways_out(table)

    def _arguments(self, table: str) -> None:
        """Arguments in the order of parameters, by position and by name."""
        writer, op, do = self.writer, self.writer.op, self.writer.do
        width, positional = self._word(table, 0), self._word(table, 1)
        by_name, by_position, done = (writer.label(n) for n in ("named", "positional", "taken"))
        self._only_if(op(f"icmp sle i64 %count, {positional}"), self.miss)
        with writer.loop("%count") as k:
            do(f"store ptr {self._item('%given', k)}, ptr {self._at(self.values, k)}")
        writer.branch(op("icmp eq ptr %named, null"), by_position, by_name)
        writer.start(by_position)
        self._only_if(op(f"icmp eq i64 %count, {width}"), self.miss)
        self._end_block(done)
        writer.start(by_name)
        number = self._field("%named", _SIZE, "i64")
        total = op(f"add i64 %count, {number}")
        self._only_if(op(f"icmp eq i64 {total}, {width}"), self.miss)
        # Zero unless parameters may be given by name.
        self._only_if(op(f"icmp eq i64 {self._word(table, 2)}, {width}"), self.miss)
        with writer.loop(width, "%count") as k:
            do(f"store ptr null, ptr {self._at(self.values, k)}")
        names = op(f"getelementptr i8, ptr {self._word(table, 3, 'ptr')}, i64 {TUPLE_ITEMS}")
        given_names = op(f"getelementptr i8, ptr %named, i64 {TUPLE_ITEMS}")
        found = writer.slot("i64")
        with writer.loop(number) as k:
            name = self._item(given_names, k)
            do(f"store i64 -1, ptr {found}")
            with writer.loop(width, "%count") as j:
                same = op(f"icmp eq ptr {self._item(names, j)}, {name}")
                before = op(f"load i64, ptr {found}")
                do(f"store i64 {op(f'select i1 {same}, i64 {j}, i64 {before}')}, ptr {found}")
            place = op(f"load i64, ptr {found}")
            self._only_if(op(f"icmp sge i64 {place}, 0"), self.miss)
            value = self._item("%given", op(f"add i64 %count, {k}"))
            do(f"store ptr {value}, ptr {self._at(self.values, place)}")
        writer.start(done)

    def _take_apart(self, step: Step, a: str, b: str, p: str) -> None:
        writer, op, do = self.writer, self.writer.op, self.writer.do
        value = self._item(self.values, a)
        if step is Step.KIND:
            self._only_if(op(f"icmp eq ptr {self._field(value, _TYPE)}, {p}"), self.miss)
        elif step is Step.SAME:
            self._only_if(op(f"icmp eq ptr {value}, {p}"), self.miss)
        elif step is Step.KEYS:
            number = writer.call("PyDict_Size", "i64", f"ptr {value}")
            self._only_if(op(f"icmp eq i64 {number}, {b}"), self.miss)
        elif step is Step.LENGTH:
            self._only_if(op(f"icmp eq i64 {self._field(value, _SIZE, 'i64')}, {b}"), self.miss)
        elif step is Step.HAVE:
            do(f"store ptr {p}, ptr {self._at(self.values, b)}")
        elif step is Step.PASS:
            writer.call("Py_IncRef", "void", f"ptr {value}")
            filled = op(f"load i64, ptr {self.filled}")
            do(f"store ptr {value}, ptr {self._at(self.passed, filled)}")
            do(f"store i64 {op(f'add i64 {filled}, 1')}, ptr {self.filled}")
        else:
            if step is Step.KEY:
                item = writer.call("PyDict_GetItemWithError", "ptr", f"ptr {value}", f"ptr {p}")
                self._only_if(op(f"icmp ne ptr {item}, null"), self.miss)
            elif step is Step.CELL:
                item = self._field(value, _HELD)
                self._only_if(op(f"icmp ne ptr {item}, null"), self.miss)
            elif step is Step.ATTRIBUTE:
                item = writer.call("PyObject_GetAttr", "ptr", f"ptr {value}", f"ptr {p}")
                self._only_if(op(f"icmp ne ptr {item}, null"), self.miss)
            else:
                items = op(f"getelementptr i8, ptr {value}, i64 {TUPLE_ITEMS}")
                place = op(f"ptrtoint ptr {p} to i64")
                if step is Step.LISTED:
                    # A property may have made it shorter since its length was looked at.
                    there = op(f"icmp slt i64 {place}, {self._field(value, _SIZE, 'i64')}")
                    self._only_if(there, self.miss)
                    items = op(f"load ptr, ptr {items}")
                item = self._item(items, place)
            if step in (Step.KEY, Step.CELL, Step.LISTED):
                # A property that is read later may change what this came from.
                writer.call("Py_IncRef", "void", f"ptr {item}")
            if step in (Step.KEY, Step.CELL, Step.LISTED, Step.ATTRIBUTE):
                owning = op(f"load i64, ptr {self.owning}")
                do(f"store ptr {item}, ptr {self._at(self.owned, owning)}")
                do(f"store i64 {op(f'add i64 {owning}, 1')}, ptr {self.owning}")
            do(f"store ptr {item}, ptr {self._at(self.values, b)}")

    def _run(self, table: str, count: str) -> None:
        writer, op = self.writer, self.writer.op
        values, number = self._word(table, 4, "ptr"), self._word(table, 5)
        given = f"ptr {self.passed}, i64 {number}, ptr {self.results}"
        well = op(f"call i1 {values}({given})")
        refused, fine = writer.label("refused"), writer.label("well")
        writer.branch(op(f"xor i1 {well}, true"), refused, fine, rare=True)
        writer.start(refused)
        kinds = self._word(table, 7, "ptr")
        ours = writer.call("PyErr_ExceptionMatches", "i32", f"ptr {kinds}")
        self._only_if(op(f"icmp ne i32 {ours}, 0"), self.failed)
        self._end_block(self.miss)
        writer.start(fine)
        writer.do(f"store i64 {count}, ptr {self.made}")

    def _put_together(self, step: Step, a: str, p: str) -> None:
        writer, op, do = self.writer, self.writer.op, self.writer.do
        if step is Step.RESULT:
            place = self._at(self.results, a)
            found = op(f"load ptr, ptr {place}")
            do(f"store ptr null, ptr {place}")
            self._push(found)
            return
        if step in (Step.VALUE, Step.CONSTANT):
            part = self._item(self.values, a) if step is Step.VALUE else p
            writer.call("Py_IncRef", "void", f"ptr {part}")
            self._push(part)
            return
        depth = op(f"load i64, ptr {self.depth}")
        if step is Step.APPLY:
            last = self._at(self.parts, op(f"sub i64 {depth}, 1"))
            given = (f"ptr {p}", f"ptr {last}", "i64 1", "ptr null")
            made = writer.call("PyObject_Vectorcall", "ptr", *given)
            self._only_if(op(f"icmp ne ptr {made}, null"), self.failed)
            part = op(f"load ptr, ptr {last}")
            do(f"store ptr {made}, ptr {last}")
            writer.call("Py_DecRef", "void", f"ptr {part}")
            return
        first = op(f"sub i64 {depth}, {a}")
        maker = {Step.TUPLE: "PyTuple_New", Step.LIST: "PyList_New"}.get(step)
        if maker is not None:
            made = writer.call(maker, "ptr", f"i64 {a}")
        else:
            # A copy has its places for the keys at once.
            model = self._field(p, TUPLE_ITEMS)
            made = writer.call("PyDict_Copy", "ptr", f"ptr {model}")
        self._only_if(op(f"icmp ne ptr {made}, null"), self.failed)
        if maker is not None:
            items = op(f"getelementptr i8, ptr {made}, i64 {TUPLE_ITEMS}")
            if step is Step.LIST:
                items = op(f"load ptr, ptr {items}")
            with writer.loop(a) as k:
                part = self._item(self.parts, op(f"add i64 {first}, {k}"))
                do(f"store ptr {part}, ptr {self._at(items, k)}")
        else:
            self._fill(made, first, a, p)
        do(f"store i64 {first}, ptr {self.depth}")
        self._push(made)

    def _fill(self, made: str, first: str, count: str, names: str) -> None:
        """The items of a dict."""
        writer, op, do = self.writer, self.writer.op, self.writer.do
        wrong = writer.slot("i32")
        do(f"store i32 0, ptr {wrong}")
        keys = op(f"getelementptr i8, ptr {names}, i64 {TUPLE_ITEMS + 8}")
        with writer.loop(count) as k:
            part = self._item(self.parts, op(f"add i64 {first}, {k}"))
            put = (f"ptr {made}", f"ptr {self._item(keys, k)}", f"ptr {part}")
            status = writer.call("PyDict_SetItem", "i32", *put)
            before = op(f"load i32, ptr {wrong}")
            do(f"store i32 {op(f'or i32 {status}, {before}')}, ptr {wrong}")
        well, unwell = writer.label("filled"), writer.label("unfilled")
        status = op(f"load i32, ptr {wrong}")
        writer.branch(op(f"icmp eq i32 {status}, 0"), well, unwell)
        writer.start(unwell)
        writer.call("Py_DecRef", "void", f"ptr {made}")
        self._end_block(self.failed)
        writer.start(well)
        with writer.loop(count) as k:
            part = self._item(self.parts, op(f"add i64 {first}, {k}"))
            writer.call("Py_DecRef", "void", f"ptr {part}")

    def _ways_out(self, table: str) -> None:
        writer, op = self.writer, self.writer.op
        writer.start(self.miss)
        writer.call("PyErr_Clear", "void")
        self._release(self.passed, self.filled)
        self._release(self.owned, self.owning)
        given: Sequence[str] = (
            f"ptr {self._word(table, 6, 'ptr')}",
            "ptr %given",
            "i64 %count",
            "ptr %named",
        )
        writer.do(f"ret ptr {writer.call('PyObject_Vectorcall', 'ptr', *given)}")
        writer.open = False
        writer.start(self.failed)
        self._release(self.results, self.made)
        self._release(self.parts, self.depth)
        self._end_block(self.end)
        writer.start(self.end)
        self._release(self.passed, self.filled)
        self._release(self.owned, self.owning)
        writer.do(f"ret ptr {op(f'load ptr, ptr {self.answer}')}")
        writer.open = False
