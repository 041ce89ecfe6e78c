// A list of any length of which only what is in sight is in the document; one row of it is chosen, by mouse or keyboard.
"use strict";

const MOST_PIXELS = 8e6; // browsers give up somewhere above 16 million
// Each look at where something stands, after a change, has the browser lay out the page: at first all is put in, then drawn.
let drawing = false;

class Windowed {
  // `height` of a line in pixels; `draw(index)` makes the element of a line.
  constructor(box, height, draw) {
    Object.assign(this, { box, height, draw, count: 0, shown: [-1, -1] });
    this.field = element("div", "field");
    this.field.setAttribute("role", "presentation");
    box.classList.add("windowed");
    box.replaceChildren(this.field);
    box.addEventListener("scroll", () => this.render(), { passive: true });
    new ResizeObserver(() => { if (box.clientHeight !== this.view) this.render(true); }).observe(box);
  }

  resize(count) {
    this.count = count;
    this.full = count * this.height;
    this.tall = Math.min(this.full, MOST_PIXELS);
    this.field.style.height = this.tall + "px";
    this.render(true);
  }

  // Where the first line in sight begins, in pixels of the whole list; very long ones scroll faster than the mouse.
  offset() {
    const view = this.box.clientHeight;
    return this.tall === this.full ? this.box.scrollTop : this.box.scrollTop * (this.full - view) / Math.max(1, this.tall - view);
  }

  render(force) {
    if (!drawing) return;
    const offset = this.offset(), above = this.box.scrollTop;
    this.view = this.box.clientHeight;
    const first = Math.max(0, Math.floor(offset / this.height) - 3);
    const last = Math.min(this.count, Math.ceil((offset + this.view) / this.height) + 3);
    if (!force && first === this.shown[0] && last === this.shown[1] && this.tall === this.full) return;
    this.shown = [first, last];
    const lines = [];
    for (let index = first; index < last; index++) {
      const line = this.draw(index);
      line.style.top = above + index * this.height - offset + "px";
      lines.push(line);
    }
    this.field.replaceChildren(...lines);
  }

  reveal(index) {
    const top = index * this.height, view = this.box.clientHeight, offset = this.offset();
    let wanted = offset;
    if (top < offset) wanted = top;
    else if (top + this.height > offset + view) wanted = top + this.height - view;
    if (wanted !== offset) this.box.scrollTop = this.tall === this.full ? wanted : wanted * (this.tall - view) / Math.max(1, this.full - view);
    this.render(true);
  }
}

// Keys of a listbox: `move(steps)` by so many, `end(last)` to one of the ends, `enter()` into what is chosen.
function listKeys(box, line, page, { move, end, enter }) {
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowDown: () => move(line()), ArrowUp: () => move(-line()), ArrowRight: () => move(1), ArrowLeft: () => move(-1),
      PageDown: () => move(page()), PageUp: () => move(-page()), Home: () => end(false), End: () => end(true), Enter: enter,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
