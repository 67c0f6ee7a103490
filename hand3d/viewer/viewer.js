// The page that `hand3d.html` writes: photograph with skeletons on the left, hands in 3D on the right.
// Data: JSON in #hand3d-data, as described in hand3d/html.py.
import {
  AmbientLight, CylinderGeometry, DirectionalLight, Group, Mesh, MeshStandardMaterial, PerspectiveCamera,
  Scene, SphereGeometry, Vector3, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

const SVG = "http://www.w3.org/2000/svg";
const data = JSON.parse(document.getElementById("hand3d-data").textContent);
const { bones, colours, names } = data.skeleton;
const byId = (id) => document.getElementById(id);
const colour = (keypoint) => colours[keypoint];

// ---------------------------------------------------------------- the photograph
function element(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawPhoto(frame) {
  const svg = byId("photo");
  const { width, height } = frame;
  const unit = Math.max(width, height) / 300; // a line's width
  // pixel centres at integers: the image spans -0.5 .. width - 0.5
  svg.setAttribute("viewBox", `-0.5 -0.5 ${width} ${height}`);
  const image = { href: frame.image, x: -0.5, y: -0.5, width, height, preserveAspectRatio: "none" };
  svg.replaceChildren(element("image", image));
  for (const hand of frame.hands) {
    const uv = hand.keypoints_uv;
    const opacity = (keypoint) => 0.25 + 0.75 * Math.min(1, 2 * hand.keypoint_scores[keypoint]);
    for (const [parent, child] of bones) {
      svg.append(element("line", {
        x1: uv[parent][0], y1: uv[parent][1], x2: uv[child][0], y2: uv[child][1],
        stroke: colour(child), "stroke-width": 1.4 * unit, "stroke-linecap": "round", opacity: opacity(child),
      }));
    }
    uv.forEach(([u, v], keypoint) => {
      const circle = element("circle", {
        cx: u, cy: v, r: 1.3 * unit, fill: colour(keypoint), stroke: "#fff", "stroke-width": 0.4 * unit,
        opacity: opacity(keypoint),
      });
      const score = hand.keypoint_scores[keypoint].toFixed(2);
      circle.append(element("title", {}, `${hand.side} ${names[keypoint]}: (${u}, ${v}), score ${score}`));
      svg.append(circle);
    });
  }
}

// ---------------------------------------------------------------- the hands in 3D
class Stage {
  constructor(canvas) {
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio));
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(35, 1, 0.1, 1000);
    this.scene.add(new AmbientLight(0xffffff, 1.4));
    const light = new DirectionalLight(0xffffff, 2.2);
    light.position.set(-3, 5, 8);
    this.scene.add(light);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = true;
    this.controls.autoRotate = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.controls.autoRotateSpeed = 1.5;
    this.controls.addEventListener("start", () => { this.controls.autoRotate = false; });
    this.hands = new Group();
    this.scene.add(this.hands);
    this.sphere = new SphereGeometry(1, 20, 14);
    this.cylinder = new CylinderGeometry(1, 1, 1, 14);
    this.materials = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
    this.look();
    this.renderer.setAnimationLoop(() => {
      this.controls.update();
      this.renderer.render(this.scene, this.camera);
    });
  }

  resize() {
    const { clientWidth, clientHeight } = this.renderer.domElement.parentElement;
    if (!clientWidth || !clientHeight) return;
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
  }

  look(turn = 0) { // as the photograph's camera does; turn: radians about the vertical axis
    const distance = 8 + 3 * (this.count || 1);
    this.camera.position.set(distance * Math.sin(turn), 0, distance * Math.cos(turn));
    this.controls.target.set(0, 0, 0);
    this.controls.update();
  }

  material(value) {
    if (!this.materials.has(value)) {
      this.materials.set(value, new MeshStandardMaterial({ color: value, roughness: 0.55 }));
    }
    return this.materials.get(value);
  }

  show(hands) {
    if (hands.length > (this.count || 0)) {
      this.count = hands.length; // the most in any frame so far: step back, so that all are in view
      this.look();
    }
    this.hands.clear();
    hands.forEach((hand, number) => {
      // camera axes: x right, y down, z away; here y goes up and z comes near
      const points = hand.keypoints_xyz.map(([x, y, z]) => new Vector3(x, -y, -z));
      const centre = points.reduce((sum, point) => sum.add(point), new Vector3()).divideScalar(points.length);
      centre.x -= 5 * (number - (hands.length - 1) / 2); // side by side: where they are is not known
      points.forEach((point) => point.sub(centre));
      points.forEach((point, keypoint) => {
        const ball = new Mesh(this.sphere, this.material(colour(keypoint)));
        ball.position.copy(point);
        ball.scale.setScalar(0.17);
        this.hands.add(ball);
      });
      for (const [parent, child] of bones) {
        const along = points[child].clone().sub(points[parent]);
        const bone = new Mesh(this.cylinder, this.material(colour(child)));
        bone.position.copy(points[parent]).addScaledVector(along, 0.5);
        bone.scale.set(0.1, Math.max(along.length(), 1e-6), 0.1);
        bone.quaternion.setFromUnitVectors(new Vector3(0, 1, 0), along.normalize());
        this.hands.add(bone);
      }
    });
  }
}

// ---------------------------------------------------------------- frames
let stage = null;
try {
  stage = new Stage(byId("hand"));
} catch (error) {
  byId("note").textContent = "This browser has no WebGL, so the hand in 3D cannot be shown.";
}

function show(number) {
  const frame = data.frames[number];
  drawPhoto(frame);
  if (stage) stage.show(frame.hands);
  const found = frame.hands.map((hand) => `${hand.side} hand, score ${hand.score.toFixed(2)}`);
  byId("caption").textContent = [frame.path, found.join("; ") || "no hand found"].filter(Boolean).join(": ");
  byId("number").textContent = `${number + 1} / ${data.frames.length}`;
  byId("slider").value = number;
}

let timer = null;
function play(on) {
  window.clearInterval(timer);
  byId("play").textContent = on ? "Pause" : "Play";
  timer = on
    ? window.setInterval(() => show((Number(byId("slider").value) + 1) % data.frames.length), 1000 / data.rate)
    : null;
}

byId("frames").hidden = data.frames.length < 2;
byId("slider").max = data.frames.length - 1;
byId("slider").addEventListener("input", (event) => { play(false); show(Number(event.target.value)); });
byId("play").addEventListener("click", () => play(timer === null));
for (const [id, turn] of [["front", 0], ["right", Math.PI / 2], ["back", Math.PI], ["left", -Math.PI / 2]]) {
  byId(id).addEventListener("click", () => {
    if (stage) { stage.controls.autoRotate = false; stage.look(turn); }
  });
}
show(0);
document.body.dataset.ready = stage ? "3d" : "2d";
