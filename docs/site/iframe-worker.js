/* Search without a server: pages of a folder (file:) may start no worker, so its script runs in a hidden frame. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.srcdoc = `<script src="${new URL(url, location)}"></script>`
      this.frame.addEventListener("load", () => this.begin(), { once: true })
      document.body.append(this.frame)
    }

    begin() {
      this.inside = this.frame.contentWindow
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      this.waiting.forEach((data) => this.postMessage(data))
    }

    postMessage(data) {
      if (this.inside) this.inside.dispatchEvent(new MessageEvent("message", { data }))
      else this.waiting.push(data)
    }

    terminate() {
      this.frame.remove()
    }
  }
}
