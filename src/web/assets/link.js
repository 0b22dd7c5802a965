// Completes a link page: the data of a link is only in the part of its address behind `#`, which
// browsers do not send to the server.
"use strict";

const KINDS = {
  group: {
    title: "Public group",
    text: "Somebody shared a group with you. Open it in SimpleX Chat to see it and to join.",
  },
  address: {
    title: "SimpleX address",
    text: "Somebody shared a contact address with you. Open it in SimpleX Chat to connect.",
  },
  invitation: {
    title: "One-time link",
    text: "Somebody invited you to connect. The link works once, so open it in the app you will use.",
  },
  channel: {
    title: "Channel",
    text: "Somebody shared a channel with you. Open it in SimpleX Chat to read it.",
  },
  relay: {
    title: "Chat relay",
    text: "Somebody shared a chat relay with you. Open it in SimpleX Chat to use it.",
  },
};

const KIND_OF_ACTION = {
  a: "address",
  c: "channel",
  contact: "address",
  g: "group",
  i: "invitation",
  invitation: "invitation",
  r: "relay",
};

// What the page shows for an address (a URL): the kind of link, the same link as every page of
// this server knows it, and the link that opens the app. Without data there is nothing to show.
function connectionLink(address) {
  const action = address.pathname.split("/").filter(Boolean).pop();
  const kind = KIND_OF_ACTION[action];
  const data = address.hash;
  if (!kind || data.length < 2) return null;
  return {
    kind: action === "contact" && data.includes("groupLinkId") ? "group" : kind,
    page: `https://${address.host}/${action}${data}`,
    app: `simplex:/${action}${action.length > 1 ? data : withHost(data, address.hostname)}`,
  };
}

// A short link names its server in the app, before the other names of the server.
function withHost(data, host) {
  if (!data.includes("?")) return `${data}?h=${host}`;
  if (!/[?&]h=/.test(data)) return `${data}&h=${host}`;
  return data.replace(/([?&]h=)([^&]*)/, (_, key, hosts) => `${key}${host}${hosts ? "," : ""}${hosts}`);
}

function showCode(figure, text) {
  const rows = qrCode(text);
  if (!rows) {
    figure.hidden = true;
    return;
  }
  const margin = 4;
  const size = rows.length + 2 * margin;
  const path = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + margin} ${y + margin}h1v1h-1z` : "")));
  const element = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const image = element("svg", {
    viewBox: `0 0 ${size} ${size}`,
    role: "img",
    "aria-label": "QR code of this link",
    "shape-rendering": "crispEdges",
  });
  image.append(
    element("rect", { width: size, height: size, fill: "#ffffff" }),
    element("path", { d: path.join(""), fill: "#062D56" }),
  );
  figure.querySelector(".code").replaceChildren(image);
  figure.hidden = false;
}

function showLink() {
  const find = (id) => document.getElementById(id);
  const link = connectionLink(new URL(document.location.href));
  find("link").hidden = !link;
  find("no-link").hidden = Boolean(link);
  if (!link) return;
  const { title, text } = KINDS[link.kind];
  document.title = `${title} - SimpleX Chat`;
  find("title").textContent = title;
  find("text").textContent = text;
  find("open").href = link.app;
  find("command").textContent = `/c ${link.page}`;
  showCode(find("qr"), link.page);
}

function copyCommand(button, status) {
  const text = document.getElementById("command").textContent;
  navigator.clipboard.writeText(text).then(
    () => (status.textContent = "Copied."),
    () => (status.textContent = "The browser did not allow it."),
  );
}

if (typeof document !== "undefined") {
  const copy = document.getElementById("copy");
  copy.hidden = !navigator.clipboard;
  copy.addEventListener("click", () => copyCommand(copy, document.getElementById("copied")));
  window.addEventListener("hashchange", showLink);
  showLink();
}
