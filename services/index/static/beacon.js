// Reports once that this article was read. A string body is a "simple" request: it needs
// no permission of the other origin beforehand, which sendBeacon could not get.
const { article, url } = document.currentScript.dataset;
const from = document.referrer.startsWith(location.origin + "/articles/")
  ? new URL(document.referrer).pathname.split("/")[2]
  : null;
const view = { article, at: Date.now() };
if (from && from !== article) view.referrer = decodeURIComponent(from);
navigator.sendBeacon(url, JSON.stringify(view));
