// Drives @kapso/whatsapp-cloud-api through the gateway and prints one line of JSON per step: {"step", "value"} or
// {"step", "error"}. It asserts nothing: test_kapso.py reads the lines.
//
//   node kapso.mjs '{"modules": folder, "baseUrl", "accessToken", "number", "waba", "user", "german", "received"}'

import { createRequire } from "node:module";
import { join } from "node:path";

const given = JSON.parse(process.argv[2]);
// The client is installed outside of this folder, where a plain import does not look.
const require = createRequire(join(given.modules, "package.json"));
const { WhatsAppClient } = require("@kapso/whatsapp-cloud-api");

// The whole change that an application makes: `baseUrl`, and the farebox key as its token.
const client = new WhatsAppClient({ baseUrl: given.baseUrl, accessToken: given.accessToken });
const phoneNumberId = given.number;
const businessAccountId = given.waba;
const to = given.user;
const file = Uint8Array.from({ length: 10_240 }, (_, index) => index % 256);

const template = (name, to) =>
  client.messages.sendTemplate({ phoneNumberId, to, template: { name, language: { code: "en_US" } } });

async function followPages() {
  const first = await client.templates.list({ businessAccountId, limit: 3 });
  const names = first.data.map((one) => one.name);
  const pages = [];
  for (let next = first.paging.next; next; ) {
    pages.push(next);
    const page = await (await client.fetch(next)).json();
    names.push(...page.data.map((one) => one.name));
    next = page.paging.next;
  }
  return { names, pages };
}

let mediaId;
const steps = {
  text: () => client.messages.sendText({ phoneNumberId, to, body: "hi" }),
  buttons: () =>
    client.messages.sendInteractiveButtons({
      phoneNumberId,
      to,
      bodyText: "which one?",
      buttons: [{ id: "this", title: "This" }],
    }),
  reaction: () =>
    client.messages.sendReaction({ phoneNumberId, to, reaction: { messageId: given.received, emoji: "👍" } }),
  bsuid: () => client.messages.sendText({ phoneNumberId, recipient: "US.13491208655302741918", body: "hi" }),
  read: () =>
    client.messages.markRead({ phoneNumberId, messageId: given.received, typingIndicator: { type: "text" } }),
  upload: async () => {
    const uploaded = await client.media.upload({ phoneNumberId, type: "image/png", file, fileName: "a picture.png" });
    mediaId = uploaded.id;
    return uploaded;
  },
  url: () => client.media.get({ mediaId, phoneNumberId }),
  // `auth: "always"`, because the client otherwise sends no token to a host that is not its maker's, Meta's included.
  download: async () => {
    const bytes = await client.media.download({ mediaId, phoneNumberId, auth: "always" });
    return Buffer.compare(Buffer.from(bytes), Buffer.from(file)) === 0;
  },
  delete: () => client.media.delete({ mediaId, phoneNumberId }),
  templates: followPages,
  paid: () => template("summer_sale", given.german),
  refused: () => template("summer_sale", given.german),
  free: () => client.messages.sendText({ phoneNumberId, to, body: "we are closed today" }),
};

for (const [step, run] of Object.entries(steps)) {
  const line = await run().then(
    (value) => ({ step, value }),
    (error) => ({ step, error: error.toJSON?.() ?? { name: error.name, message: error.message } }),
  );
  console.log(JSON.stringify(line));
}
