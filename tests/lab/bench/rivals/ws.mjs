// Node's `ws`: node ws.mjs PORT. It stores nothing.
import { WebSocketServer } from "ws"

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: false,
})
server.on("connection", (socket) => {
  socket.on("message", (data) => {
    const text = data.toString()
    for (const other of server.clients) other.send(text)
  })
  socket.send("ready")
})
