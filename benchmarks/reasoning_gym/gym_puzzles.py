"""The rules of ten puzzles of reasoning-gym, each with its own notation."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache

from gym_rules import Position, Puzzle


class TowerOfHanoi(Puzzle):
    """Position: the peg wanted, and the disks of each peg, the lowest first."""

    name = "tower_of_hanoi"

    def read(self, question: str) -> Position:
        disks, pegs = map(int, re.findall(r"(\d+) disks and (\d+) pegs", question)[0])
        source, target = map(int, re.findall(r"from Peg (\d+) to Peg (\d+)", question)[0])
        return target, tuple(tuple(range(disks, 0, -1)) if peg == source else () for peg in range(1, pegs + 1))

    def legal(self, position: Position) -> Iterator[str]:
        _, pegs = position
        for source, disks in enumerate(pegs):
            for target, others in enumerate(pegs):
                if disks and source != target and (not others or others[-1] > disks[-1]):
                    yield self._move(disks[-1], source, target)

    def after(self, position: Position, move: str) -> Position:
        wanted, pegs = position
        disk, source, target = map(int, re.findall(r"\d+", move))
        changed = {source: pegs[source - 1][:-1], target: (*pegs[target - 1], disk)}
        return wanted, tuple(changed.get(peg, disks) for peg, disks in enumerate(pegs, 1))

    def solved(self, position: Position) -> bool:
        wanted, pegs = position
        return all(peg == wanted or not disks for peg, disks in enumerate(pegs, 1))

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return "\n".join(moves)

    def notation(self, position: Position) -> list[str]:
        pegs = range(len(position[1]))
        disks = [disk for peg in position[1] for disk in peg]
        return [self._move(disk, source, target) for disk in disks for source in pegs for target in pegs]

    @staticmethod
    def _move(disk: int, source: int, target: int) -> str:
        return f"Move disk {disk} from Peg {source + 1} to Peg {target + 1}"


class Countdown(Puzzle):
    """Position: the target, and each number that is left, with how it was made. A move names two by their places."""

    name = "countdown"
    orderly = True

    def read(self, question: str) -> Position:
        target = re.findall(r"(?:make|equals|Calculate) (\d+)", question)[0]
        numbers = re.findall(r"numbers:? (\d+(?:, \d+)*)", question)[0]
        return int(target), tuple((int(number), number.strip()) for number in numbers.split(","))

    def legal(self, position: Position) -> Iterator[str]:
        _, numbers = position
        for one, (left, _) in enumerate(numbers):
            for other, (right, _) in enumerate(numbers):
                if one < other:
                    yield f"{one} + {other}"
                    yield f"{one} * {other}"
                if one != other and left >= right:
                    yield f"{one} - {other}"
                    if right and left % right == 0:
                        yield f"{one} / {other}"

    def after(self, position: Position, move: str) -> Position:
        target, numbers = position
        one, sign, other = move.split()
        (left, left_said), (right, right_said) = numbers[int(one)], numbers[int(other)]
        made = {"+": left + right, "-": left - right, "*": left * right, "/": left // right if right else 0}[sign]
        rest = tuple(each for place, each in enumerate(numbers) if place not in {int(one), int(other)})
        return target, (*rest, (made, f"({left_said} {sign} {right_said})"))

    def solved(self, position: Position) -> bool:
        target, numbers = position
        return len(numbers) == 1 and numbers[0][0] == target

    def written(self, first: Position, moves: Sequence[str]) -> str:
        position = first
        for move in moves:
            position = self.after(position, move)
        return str(position[1][-1][1])

    def notation(self, position: Position) -> list[str]:
        places = range(len(position[1]))
        return [f"{one} {sign} {other}" for one in places for other in places if one != other for sign in "+-*/"]


class Jugs(Puzzle):
    """Position: the target, what each jug holds at most, and what it holds now."""

    name = "jugs"

    def read(self, question: str) -> Position:
        most = tuple(map(int, re.findall(r"[A-Z]:(\d+)", question)))
        return int(re.findall(r"target is: (\d+)", question)[0]), most, (0,) * len(most)

    def legal(self, position: Position) -> Iterator[str]:
        return (move for move in self.notation(position) if self.after(position, move) != position)

    def after(self, position: Position, move: str) -> Position:
        target, most, now = position
        kind, _, which = move.partition(" ")
        level, places = list(now), [ord(name) - ord("A") for name in which.split("->")]
        if kind == "pour":
            source, into = places
            poured = min(level[source], most[into] - level[into])
            level[source] -= poured
            level[into] += poured
        else:
            level[places[0]] = most[places[0]] if kind == "fill" else 0
        return target, most, tuple(level)

    def solved(self, position: Position) -> bool:
        return position[0] in position[2]

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return json.dumps(list(moves))

    def notation(self, position: Position) -> list[str]:
        names = [chr(ord("A") + place) for place in range(len(position[1]))]
        pours = [f"pour {one}->{other}" for one in names for other in names if one != other]
        return [*(f"{kind} {name}" for kind in ("fill", "empty") for name in names), *pours]


class KnightSwap(Puzzle):
    """Position: whose turn it is, the knights by square, where each colour has to get, whether nobody has moved yet."""

    name = "knight_swap"
    _NO = "No"

    def read(self, question: str) -> Position:
        columns = re.findall(r"^ +((?:[A-Z] +)+[A-Z]?)\s*$", question, re.MULTILINE)[0].split()
        squares = {}
        for row, cells in re.findall(r"^(\d+) \|(.*)\|", question, re.MULTILINE):
            for column, cell in zip(columns, cells.split("|"), strict=True):
                if cell.strip():
                    squares[f"{column}{row}"] = cell.strip()
        pieces = tuple(sorted(squares.items()))
        turn = re.findall(r"(\w) moves first", question)[0]
        white, black = (tuple(square for square, piece in pieces if piece == colour) for colour in "wB")
        return turn, pieces, (black, white), True

    def legal(self, position: Position) -> Iterator[str]:
        turn, pieces, _, fresh = position
        if fresh:
            yield self._NO
        for square, piece in pieces:
            if piece == turn:
                yield from (
                    f"{turn},{square},{other}" for other, there in pieces if there == "." and self._jumps(square, other)
                )

    @staticmethod
    def _jumps(square: str, other: str) -> bool:
        return sorted((abs(ord(square[0]) - ord(other[0])), abs(int(square[1:]) - int(other[1:])))) == [1, 2]

    def after(self, position: Position, move: str) -> Position:
        turn, pieces, wanted, _ = position
        if move == self._NO:
            return self._NO, pieces, wanted, False
        colour, source, target = move.split(",")
        changed = {source: ".", target: colour}
        moved = tuple((square, changed.get(square, piece)) for square, piece in pieces)
        return "B" if turn == "w" else "w", moved, wanted, False

    def solved(self, position: Position) -> bool:
        turn, pieces, (white, black), _ = position
        reached = tuple(tuple(square for square, piece in pieces if piece == colour) for colour in "wB")
        return turn == self._NO or reached == (white, black)

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return self._NO if list(moves) == [self._NO] else json.dumps(list(moves))

    def notation(self, position: Position) -> list[str]:
        squares = [square for square, _ in position[1]]
        return [f"{colour},{one},{other}" for colour in "wB" for one in squares for other in squares if one != other]


class RushHour(Puzzle):
    """Position: the rows of the board. A move slides one car by some places."""

    name = "rush_hour"
    _SIZE = 6

    def read(self, question: str) -> Position:
        return tuple(question.partition("Board:\n")[2].split()[: self._SIZE])

    def legal(self, position: Position) -> Iterator[str]:
        for car, places in self._cars(position).items():
            across = places[0][0] == places[-1][0]
            for sign in (-1, 1):
                row, column = places[-1] if sign > 0 else places[0]
                for steps in range(1, self._SIZE):
                    place = (row, column + sign * steps) if across else (row + sign * steps, column)
                    if not all(0 <= each < self._SIZE for each in place) or position[place[0]][place[1]] != ".":
                        break
                    yield f"{car}{sign * steps:+d}"

    @staticmethod
    def _cars(position: Position) -> dict[str, list[tuple[int, int]]]:
        cars: dict[str, list[tuple[int, int]]] = {}
        for row, cells in enumerate(position):
            for column, cell in enumerate(cells):
                if cell not in ".x":
                    cars.setdefault(cell, []).append((row, column))
        return cars

    def after(self, position: Position, move: str) -> Position:
        car, steps = move[0], int(move[1:])
        places = self._cars(position)[car]
        across = places[0][0] == places[-1][0]
        board = [list(cells.replace(car, ".")) for cells in position]
        for row, column in places:
            board[row + (0 if across else steps)][column + (steps if across else 0)] = car
        return tuple("".join(cells) for cells in board)

    def solved(self, position: Position) -> bool:
        return any(cells.endswith("AA") for cells in position)

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return " ".join(moves)

    def notation(self, position: Position) -> list[str]:
        return [f"{car}{steps:+d}" for car in sorted(self._cars(position)) for steps in (-4, -3, -2, -1, 1, 2, 3, 4)]


class Sudoku(Puzzle):
    """Position: 81 digits, 0 where none stands. A move writes a digit into an empty cell."""

    name = "sudoku"
    orderly = True

    def read(self, question: str) -> Position:
        rows = re.findall(r"^[_\d](?: [_\d]){8}$", question, re.MULTILINE)
        return tuple(int(cell.replace("_", "0")) for row in rows for cell in row.split())

    def legal(self, position: Position) -> Iterator[str]:
        for cell, digit in enumerate(position):
            if not digit:
                yield from self._fitting(position, cell)

    def worth_trying(self, position: Position) -> Iterator[str]:
        empty: list[list[str]] = [
            list(self._fitting(position, cell)) for cell, digit in enumerate(position) if not digit
        ]
        fewest: list[str] = min(empty, key=len, default=[])
        return iter(fewest)

    @staticmethod
    def _fitting(position: Position, cell: int) -> Iterator[str]:
        row, column = divmod(cell, 9)
        box = row // 3 * 27 + column // 3 * 3
        seen = {*position[row * 9 : row * 9 + 9], *position[column::9]}
        seen |= {digit for line in range(3) for digit in position[box + 9 * line : box + 9 * line + 3]}
        return (f"r{row + 1}c{column + 1}={digit}" for digit in range(1, 10) if digit not in seen)

    def after(self, position: Position, move: str) -> Position:
        row, column, digit = map(int, re.findall(r"\d", move))
        cell = (row - 1) * 9 + column - 1
        return (*position[:cell], digit, *position[cell + 1 :])

    def solved(self, position: Position) -> bool:
        return 0 not in position

    def written(self, first: Position, moves: Sequence[str]) -> str:
        grid = first
        for move in moves:
            grid = self.after(grid, move)
        return "\n".join(" ".join(map(str, grid[row * 9 : row * 9 + 9])) for row in range(9))

    def notation(self, position: Position) -> list[str]:
        empty = [divmod(cell, 9) for cell, digit in enumerate(position) if not digit]
        return [f"r{row + 1}c{column + 1}={digit}" for row, column in empty for digit in range(1, 10)]


class WordLadder(Puzzle):
    """Position: the word now, and the word wanted. A move is the next word, of those that the puzzle knows."""

    name = "word_ladder"

    def read(self, question: str) -> Position:
        return tuple(re.findall(r"'([A-Z]+)'", question)[:2])

    def legal(self, position: Position) -> Iterator[str]:
        word = position[0]
        known = _words(len(word))
        for place in range(len(word)):
            for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
                other = word[:place] + letter + word[place + 1 :]
                if other != word and other in known:
                    yield other

    def after(self, position: Position, move: str) -> Position:
        return move, position[1]

    def solved(self, position: Position) -> bool:
        return bool(position[0] == position[1])

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return ",".join([first[0], *moves])

    def notation(self, position: Position) -> list[str]:
        return sorted(_words(len(position[0])))


@cache
def _words(length: int) -> frozenset[str]:
    from reasoning_gym.data import get_data_file_path

    with get_data_file_path("words.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return frozenset(word.upper() for row in rows if len(word := row.get(f"{length}_letter") or "") == length)


class ShortestPath(Puzzle):
    """Position: the grid's rows, and where one stands, a row and a column. Going nowhere is a move too, at first."""

    name = "shortest_path"
    _STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}  # noqa: RUF012 - a constant
    _NO = "infeasible"

    def read(self, question: str) -> Position:
        rows = tuple(row.replace(" ", "") for row in re.findall(r"^[XO*#](?: [XO*#])+\s*$", question, re.MULTILINE))
        return tuple(row.strip() for row in rows), *self._find(rows, "*"), True

    @staticmethod
    def _find(rows: Sequence[str], mark: str) -> tuple[int, int]:
        return next((row, cells.index(mark)) for row, cells in enumerate(rows) if mark in cells)

    def legal(self, position: Position) -> Iterator[str]:
        rows, row, column, fresh = position
        if fresh:
            yield self._NO
        for step, (down, right) in self._STEPS.items():
            there = (row + down, column + right)
            if 0 <= there[0] < len(rows) and 0 <= there[1] < len(rows[0]) and rows[there[0]][there[1]] != "X":
                yield step

    def after(self, position: Position, move: str) -> Position:
        rows, row, column, _ = position
        if move == self._NO:
            return rows, -1, -1, False
        down, right = self._STEPS[move]
        return rows, row + down, column + right, False

    def solved(self, position: Position) -> bool:
        rows, row, column, _ = position
        return bool(row < 0 or rows[row][column] == "#")

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return " ".join(moves)

    def notation(self, position: Position) -> list[str]:
        return list(self._STEPS)


class Maze(ShortestPath):
    """The same in a maze with marks of its own, of which only the number of steps is asked."""

    name = "maze"

    def read(self, question: str) -> Position:
        start, goal = re.findall(r"from '(.)' \(start\) to '(.)' \(goal\)", question)[0]
        wall, way = re.findall(r"Legend: '(.)' = Wall, '(.)' = Passage", question)[0]
        drawn = question.split("```")[1].strip("\n").split("\n")
        marks = str.maketrans({wall: "X", way: "O", start: "*", goal: "#"})
        rows = tuple(row.translate(marks) for row in drawn)
        return rows, *self._find(rows, "*"), False

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return str(len(moves))


class GraphColor(Puzzle):
    """Position: the colours there are, the edges, and each vertex with its colour, 0 for none."""

    name = "graph_color"
    orderly = True

    def read(self, question: str) -> Position:
        said = dict(re.findall(r"^(Vertices|Edges|Possible colors): (\[.*\])$", question, re.MULTILINE))
        vertices, edges, colors = (ast.literal_eval(said[name]) for name in ("Vertices", "Edges", "Possible colors"))
        return tuple(colors), tuple(edges), tuple((vertex, 0) for vertex in vertices)

    def legal(self, position: Position) -> Iterator[str]:
        for vertex, color in position[2]:
            if not color:
                yield from self._fitting(position, vertex)

    def worth_trying(self, position: Position) -> Iterator[str]:
        return self._fitting(position, next(vertex for vertex, color in position[2] if not color))

    @staticmethod
    def _fitting(position: Position, vertex: int) -> Iterator[str]:
        colors, edges, colored = position
        known = dict(colored)
        taken = {known[two if one == vertex else one] for one, two in edges if vertex in (one, two)}
        return (f"{vertex}={color}" for color in colors if color not in taken)

    def after(self, position: Position, move: str) -> Position:
        chosen, color = map(int, move.split("="))
        colors, edges, colored = position
        return colors, edges, tuple((vertex, color if vertex == chosen else was) for vertex, was in colored)

    def solved(self, position: Position) -> bool:
        return all(color for _, color in position[2])

    def written(self, first: Position, moves: Sequence[str]) -> str:
        return json.dumps({vertex: int(color) for vertex, color in (move.split("=") for move in moves)})

    def notation(self, position: Position) -> list[str]:
        return [f"{vertex}={color}" for vertex, known in position[2] if not known for color in position[0]]


PUZZLES: tuple[Puzzle, ...] = (
    TowerOfHanoi(),
    Countdown(),
    Jugs(),
    KnightSwap(),
    RushHour(),
    Sudoku(),
    WordLadder(),
    ShortestPath(),
    GraphColor(),
    Maze(),
)
