// Browsers start no worker for a page that was opened as a file. There the site's search runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      window.addEventListener("message", (event) => {
        if (event.source === inside) this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      inside.document.write(`<body><script>
        postMessage = (message) => parent.postMessage(message, "*");
        importScripts = async (...urls) => {
          for (const url of urls) {
            const script = document.createElement("script");
            const loaded = new Promise((done) => { script.onload = done; });
            script.src = url;
            document.body.append(script);
            await loaded;
          }
        };
      </script><script src="${url}"></script></body>`);
      inside.document.close();
      // not before: opening the document drops what listens
      this.loaded = new Promise((done) => inside.addEventListener("load", done));
    }

    postMessage(message) {
      const data = structuredClone(message);
      this.loaded.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
