// The lamp's place (x, y) in the unit disc over the face: the middle is the camera, the rim 90 degrees from it.
// gradio may render the template anew, so elements are looked up when they are needed, and events are heard at the root.
const RIM = 0.46; // of the stage's side: where the ring is
const DEGREES = 180 / Math.PI;
let x, y, dragging = false, held = false; // held: the keys are the lamp's

const find = (name) => element.querySelector(name);

function place(azimuth, elevation) {
  const [a, e] = [azimuth / DEGREES, elevation / DEGREES];
  const [across, up, towards] = [Math.cos(e) * Math.sin(a), Math.sin(e), Math.cos(e) * Math.cos(a)];
  const beside = Math.hypot(across, up), far = (Math.acos(towards) / Math.PI) * 2;
  [x, y] = beside ? [(across / beside) * far, (up / beside) * far] : [0, 0];
}

function direction() {
  const far = Math.hypot(x, y), angle = (far * Math.PI) / 2;
  const share = far ? Math.sin(angle) / far : 0;
  return {
    azimuth: Math.atan2(share * x, Math.cos(angle)) * DEGREES,
    elevation: Math.asin(Math.max(-1, Math.min(1, share * y))) * DEGREES,
  };
}

function show() {
  const picture = find(".picture");
  if (!picture) return;
  if (props.value) {
    if (picture.getAttribute("src") !== props.value) picture.setAttribute("src", props.value);
  } else picture.removeAttribute("src");
  find(".lamp").style.left = `${50 + 100 * RIM * x}%`;
  find(".lamp").style.top = `${50 - 100 * RIM * y}%`;
  const { azimuth, elevation } = direction();
  const side = Math.round(azimuth) === 0 ? "ahead" : `${Math.abs(Math.round(azimuth))}° ${azimuth > 0 ? "right" : "left"}`;
  find(".where").textContent = `${side}, ${Math.abs(Math.round(elevation))}° ${elevation < 0 ? "down" : "up"}`;
  find(".stage").classList.toggle("dragging", dragging);
  if (held && document.activeElement === document.body) focus(); // the template was rendered anew
}

function focus() {
  held = true;
  find(".stage").focus({ preventScroll: true });
}

function move(toX, toY) {
  const far = Math.max(1, Math.hypot(toX, toY));
  [x, y] = [toX / far, toY / far];
  show();
  if (props.value) trigger("input", direction());
}

function follow(event) {
  const box = find(".stage").getBoundingClientRect();
  const half = box.width * RIM;
  move((event.clientX - box.left - box.width / 2) / half, -(event.clientY - box.top - box.height / 2) / half);
}

element.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".stage")) return;
  dragging = true;
  focus();
  element.setPointerCapture(event.pointerId);
  follow(event);
});
element.addEventListener("pointermove", (event) => { if (dragging) follow(event); });
for (const name of ["pointerup", "pointercancel"]) {
  element.addEventListener(name, () => {
    if (!dragging) return;
    dragging = false;
    show();
    if (props.value) trigger("release", direction());
  });
}
element.addEventListener("focusin", () => { held = true; });
element.addEventListener("focusout", (event) => { if (event.relatedTarget) held = false; });
element.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
  if (!step) return;
  event.preventDefault();
  move(x + step[0], y + step[1]);
  if (props.value) trigger("release", direction());
});

place(props.azimuth, props.elevation);
show();
watch("value", show);
